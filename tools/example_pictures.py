"""Draw the model card's examples: the best and the worst masks of photos that may be shown.

    python tools/example_pictures.py -o docs/images/nano-examples.jpg

Every annotated object of the photos in the package is asked for with its box, with its center point
and with three clicks; the ten masks of the highest and the ten of the lowest IoU are drawn, green
and red. Nobody chooses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

import samedge
from samedge.bundle.bundle import bundle_path
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import answers, parse_protocols
from samedge.pixels import metrics
from samedge.pixels.overlay import draw_masks
from samedge.types import Array

PHOTOS = Path(samedge.__file__).parent / "data" / "photos"
PROTOCOLS = {"box": "box", "center": "one click", "clicks:3": "three clicks"}
COUNT = 10
COLUMNS = 5
CELL = 216
_GOOD, _BAD = "#1a7f37", "#c62828"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One answer.

    Attributes:
        pixels: the photo, (H, W, 3) uint8.
        prompt: what it was asked by.
        prompts: the box or the clicks.
        mask, truth: (H, W) bool.
        iou, predicted_iou: of the mask, and what the model said.
    """

    pixels: Array
    prompt: str
    prompts: tuple[samedge.Prompt, ...]
    mask: npt.NDArray[np.bool_]
    truth: npt.NDArray[np.bool_]
    iou: float
    predicted_iou: float


def examples(predictor: samedge.Predictor) -> Iterator[Example]:
    """Every object by every kind of prompt."""
    for photo in load_ground_truth(PHOTOS / "instances.json", PHOTOS).images:
        pixels, instances = photo.pixels(), list(photo.instances())
        embedding = predictor.encode(pixels)

        def decode(
            prompts: Sequence[samedge.Prompt],
            *,
            multimask: bool = False,
            embedding: samedge.ImageEmbedding = embedding,
        ) -> list[samedge.Masks]:
            return predictor.decode_batch(embedding, prompts, multimask=multimask)

        for name, answer in answers(
            decode, instances, protocols=parse_protocols(",".join(PROTOCOLS))
        ):
            if answer.points:
                asked = samedge.Prompt(points=answer.points, labels=answer.labels)
            else:
                asked = samedge.Prompt(box=answer.instance.box)
            yield Example(
                pixels=pixels,
                prompt=PROTOCOLS[name],
                prompts=(asked,),
                mask=answer.mask.copy(),
                truth=answer.instance.mask,
                iou=answer.ious[-1],
                predicted_iou=answer.predicted_iou,
            )


def picture(example: Example, color: str) -> Image.Image:
    """A square around the object with its mask, the prompt, and both figures."""
    drawn = draw_masks(example.pixels, example.mask[None], prompts=example.prompts)
    x0, y0, x1, y1 = metrics.bounding_box(example.truth | example.mask) or (0, 0, 1, 1)
    half = 0.6 * max(x1 - x0, y1 - y0, 48)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    square = tuple(round(v) for v in (x - half, y - half, x + half, y + half))
    cell = Image.fromarray(drawn).crop(square).resize((CELL - 6, CELL - 6))  # type: ignore[arg-type]
    framed = Image.new("RGB", (CELL, CELL), color)
    framed.paste(cell, (3, 3))
    pen = ImageDraw.Draw(framed)
    text = f"{example.prompt}: {example.iou:.2f} (says {example.predicted_iou:.2f})"
    pen.rectangle((3, CELL - 20, CELL - 4, CELL - 4), fill="black")
    pen.text((8, CELL - 18), text, fill="white", font=ImageFont.load_default(size=11))
    return framed


@click.command()
@click.option("--bundle", default="samedge-nano", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(bundle: str, output: Path) -> None:
    """Write OUTPUT: the best at the top, the worst below."""
    with samedge.Predictor.from_bundle(bundle_path(bundle)) as predictor:
        ranked = sorted(examples(predictor), key=lambda example: -example.iou)
    shown = [(e, _GOOD) for e in ranked[:COUNT]] + [(e, _BAD) for e in ranked[-COUNT:]]
    sheet = Image.new("RGB", (COLUMNS * CELL, -(-len(shown) // COLUMNS) * CELL), "white")
    for index, (example, color) in enumerate(shown):
        place = index % COLUMNS * CELL, index // COLUMNS * CELL
        sheet.paste(picture(example, color), place)
    sheet.save(output, quality=82)


if __name__ == "__main__":
    main()
