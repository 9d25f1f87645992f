"""Fit the strength of a click decoder's box prior to photos that training held out.

    python tools/held_out.py DATA --sources coco coco_other -o held-out.json
    python tools/fit_prior.py WEIGHTS --bundle samedge-nano --dataset held-out.json \
        --images DATA/train -o fitted.safetensors
    python tools/embed.py fitted.safetensors --name samedge-nano --bundle

A loss that is calibrated for pixels leaves doubtful ones out although IoU wants them in. Two
numbers of the mask for clear prompts make up for it: what is added inside a box, and the same for
small boxes. They touch boxes without an earlier mask alone. What is best for boxes on whole photos
is kept, among what loses next to nothing in the parts that a second look decodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from samedge.evaluation.ground_truth import GroundTruth, load_ground_truth
from samedge.models.checkpoints import load_checkpoint, save_checkpoint
from samedge.models.click_decoder import ClickSam
from samedge.pixels import metrics
from samedge.pixels.images import load_image
from samedge.pixels.prompts import feeds_of
from samedge.pixels.regions import square_region
from samedge.predict.decoding import FIRMER
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.focus_plan import FocusSettings
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor
from samedge.proof.reference import TorchReference
from samedge.types import LOW_RES_MASKS, Array, Prompt, Role

SHIFTS = {"edge": (0.0, 0.1, 0.2, 0.3, 0.4), "small": (0.0, 0.5, 1.0)}
"""What is tried for each weight of the prior, in this order."""

CLEAR = 0
"""The token of prompts that leave no doubt, as boxes do."""

MOST_LOST = 0.001
LOOKS = FocusSettings()


class Scene(NamedTuple):
    """A photo, or the part of one around a small thing.

    Attributes:
        embedding: of the picture.
        boxes: of its things.
        masks: (H, W) bool of each, in the picture.
        is_part: whether it is a part.
    """

    embedding: ImageEmbedding
    boxes: list[Array]
    masks: list[Array]
    is_part: bool


class Score(NamedTuple):
    """Mean IoU of boxes: on whole photos, asked once, and in parts, asked twice."""

    whole: float
    parts: float


def scenes(predictor: Predictor, truth: GroundTruth) -> Iterator[Scene]:
    """The photos, each followed by the parts around its small things."""
    for image in truth.images:
        pixels = load_image(image.path)
        size = pixels.shape[:2]
        things = list(image.instances())
        boxes = [np.asarray(thing.box, np.float64) for thing in things]
        masks = [thing.mask for thing in things]
        yield Scene(predictor.encode(pixels), boxes, masks, is_part=False)
        for thing, box in zip(things, boxes, strict=True):
            side = float(max(box[2] - box[0], box[3] - box[1]))
            if side >= LOOKS.below * max(size):
                continue
            wide = max(LOOKS.around.least_px, LOOKS.around.context * side)
            x0, y0, x1, y1 = square_region(thing.box, size, side=wide)
            embedding = predictor.encode(np.ascontiguousarray(pixels[y0:y1, x0:x1]))
            moved = box - [x0, y0, x0, y0]
            yield Scene(embedding, [moved], [thing.mask[y0:y1, x0:x1]], is_part=True)


def score(model: ClickSam, found: Sequence[Scene]) -> Score:
    """Ask the model about every box."""
    ious: dict[bool, list[float]] = {False: [], True: []}
    for scene in found:
        logits = _logits(model, scene, None)
        if scene.is_part:
            logits = (logits + _logits(model, scene, FIRMER * logits)) / 2
        masks = scene.embedding.view.logits(logits) > 0
        ious[scene.is_part] += map(metrics.mask_iou, scene.masks, masks)
    return Score(float(np.mean(ious[False])), float(np.mean(ious[True])))


def _logits(model: ClickSam, scene: Scene, earlier: Array | None) -> Array:
    prompts = [
        Prompt(box=box, mask=None if earlier is None else earlier[index])
        for index, box in enumerate(scene.boxes)
    ]
    feeds = {**scene.embedding.tensors, **feeds_of(prompts, scene.embedding.view)}
    logits: Array = TorchReference(model).run(Role.DECODER, feeds)[LOW_RES_MASKS][:, CLEAR]
    return logits


def fit(model: ClickSam, found: Sequence[Scene]) -> None:
    """Leave both weights at the shifts that serve best."""
    before = score(model, found)
    click.echo(f"as it was: whole photos {before.whole:.4f}, parts {before.parts:.4f}", err=True)
    for name, shifts in SHIFTS.items():
        weight = getattr(model.decoder.prior, name)
        start, scores = weight.data.clone(), {}
        for shift in shifts:
            weight.data[CLEAR] = start[CLEAR] + shift
            scores[shift] = score(model, found)
            click.echo(f"{name} {shift:+.1f}: {scores[shift]}", err=True)
        fair = [s for s in shifts if scores[s].parts >= before.parts - MOST_LOST]
        weight.data[CLEAR] = start[CLEAR] + max(fair, key=lambda s: scores[s].whole)


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bundle", required=True, help="With the same encoder: embeds the photos.")
@click.option("--dataset", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--images", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(weights: Path, *, bundle: str, dataset: Path, images: Path, output: Path) -> None:
    """Fit the prior of WEIGHTS and write OUTPUT."""
    model = load_checkpoint(weights)
    if not isinstance(model, ClickSam) or model.spec is None:
        raise click.UsageError(f"{weights} has no click decoder.")
    predictor, _ = open_predictor(bundle)
    with predictor:
        found = list(scenes(predictor, load_ground_truth(dataset, images)))
    fit(model.requires_grad_(requires_grad=False), found)
    save_checkpoint(model, output, spec=model.spec)


if __name__ == "__main__":
    main()
