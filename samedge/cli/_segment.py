"""``samedge segment``: points, boxes and masks to masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge.cli import output
from samedge.cli.image_options import images_and_bundle
from samedge.cli.prompt_types import BOX, POINT

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.bundle.manifest import Manifest
    from samedge.predict.predictor import Predictor
    from samedge.predict.segmentation import Segmentation
    from samedge.types import Prompt

Numbers = tuple[float, ...]

EPILOG = """\b
Examples:
  samedge segment photo.jpg --point 320,240 --format overlay -o overlay.png
  samedge segment photo.jpg --point 320,240 --point 40,40,0 -o mask.png
  samedge segment photo.jpg --box 10,20,200,220 --box 220,20,400,200 -o masks.json
  samedge segment a.jpg b.jpg --bundle out/intel --point 100,100 --format overlay -o overlays/
  samedge segment photo.jpg --box 10,20,200,220 --json
"""

FORMATS = ("png", "overlay", "coco", "npz")


@click.command("segment", epilog=EPILOG)
@images_and_bundle
@click.option(
    "--point",
    "points",
    type=POINT,
    multiple=True,
    metavar="X,Y[,LABEL]",
    help="A click: 1 foreground (default), 0 background. All clicks are one prompt.",
)
@click.option(
    "--box",
    "boxes",
    type=BOX,
    multiple=True,
    metavar="X0,Y0,X1,Y1",
    help="A box. Several are a batch; one with clicks is one prompt.",
)
@click.option(
    "--mask",
    "mask_path",
    type=click.Path(path_type=Path),
    metavar="PNG",
    help="An earlier mask of the same image to start from, white inside.",
)
@click.option("--text", metavar="T", help="Words, for models that understand them.")
@click.option("--multimask", is_flag=True, help="Return all three candidates of each prompt.")
@click.option(
    "-o",
    "--output",
    "output_path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File to write; a folder when there are several images.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(FORMATS),
    help="What to write. [default: by the file's ending; png, .json coco, .npz]",
)
@output.standard_options
def segment(
    out: output.Output,
    *,
    images: tuple[Path, ...],
    bundle: Path | None,
    backend: str | None,
    device: str | None,
    points: tuple[Numbers, ...],
    boxes: tuple[Numbers, ...],
    mask_path: Path | None,
    text: str | None,
    multimask: bool,
    output_path: Path | None,
    file_format: str | None,
) -> None:
    """Segment what points, boxes or an earlier mask show, in pixels of the image.

    All points are one prompt. Several boxes are a batch. A point and a box together are one prompt,
    and so is a mask with either.
    """
    from samedge.predict.segmentation import Destination, segment_image

    if text is not None:
        _refuse_text(text, bundle)
    prompts = _prompts(points, boxes, mask_path)
    destination = Destination(output_path, file_format, images=len(images))
    documents = []
    opened = _open(bundle, backend=backend, device=device)
    with opened as predictor, out.progress("Segmenting", total=len(images)) as advance:
        for path in images:
            result = segment_image(predictor, path, prompts=prompts, multimask=multimask)
            documents.append(_document(predictor.manifest, result, destination.write(result)))
            advance()
    kept = destination.close()
    for document in documents:
        document["files"] += kept
    _report(out, documents, hint=output_path is None and file_format is None)


def _refuse_text(text: str, bundle: Path | None) -> None:
    from samedge.bundle.bundle import Bundle, embedded_path
    from samedge.errors import PromptError

    model = Bundle.open(bundle or embedded_path(), verify=False).manifest.model.name
    raise PromptError(
        f"--text {text!r}: no model in this bundle understands words; {model} takes points, boxes "
        "and masks. Give --point X,Y or --box X0,Y0,X1,Y1."
    )


def _open(bundle: Path | None, *, backend: str | None, device: str | None) -> Predictor:
    from samedge.predict.predictor import Predictor, load_default

    if bundle is None:
        return load_default(backend=backend, device=device)
    return Predictor.from_bundle(bundle, backend=backend, device=device)


def _report(out: output.Output, documents: list[dict[str, Any]], *, hint: bool) -> None:
    document = documents[0] if len(documents) == 1 else {"results": documents}
    parts: list[Table | str] = []
    for entry in documents:
        parts += [_table(entry), _footer(entry)]
    out.result(document, *parts)
    if hint and not out.json:
        out.note("Nothing was written; add -o overlay.png --format overlay to see the masks.")


def _prompts(
    points: Sequence[Numbers], boxes: Sequence[Numbers], mask_path: Path | None
) -> list[Prompt]:
    """Points are one prompt; boxes are one each; points and a mask join the one box."""
    from samedge.pixels.mask_images import load_mask
    from samedge.types import Prompt

    if not points and not boxes and mask_path is None:
        raise click.UsageError("Say what to segment: give --point, --box or --mask.")
    if len(boxes) > 1 and (points or mask_path is not None):
        raise click.UsageError(
            f"{len(boxes)} boxes are a batch, which points and masks cannot join: "
            "give one box with them, or call once for each box."
        )
    mask = None if mask_path is None else load_mask(mask_path)
    clicks = [point[:2] for point in points]
    labels = [int(point[2]) for point in points]
    return [Prompt(points=clicks, labels=labels, box=box, mask=mask) for box in boxes or (None,)]


def _document(manifest: Manifest, result: Segmentation, files: Sequence[Path]) -> dict[str, Any]:
    height, width = result.size
    return {
        "image": {"path": str(result.path), "height": height, "width": width},
        "bundle": {
            "id": manifest.id,
            "model": manifest.model.name,
            "target": manifest.target,
            "precision": manifest.precision,
            "input_size": manifest.input_size,
        },
        "backend": dataclasses.asdict(result.backend),
        "masks": result.records(),
        "timing_ms": result.timing_ms,
        "files": list(files),
    }


def _table(document: dict[str, Any]) -> Table:
    """The masks of one image for people."""
    image = document["image"]
    table = output.table("Mask", "Prompt", "Predicted IoU", "Stability", "Area", "Box (x, y, w, h)")
    table.title = f"{image['path']}, {image['width']} x {image['height']} px"
    for index, record in enumerate(document["masks"]):
        stability = record["stability_score"]
        table.add_row(
            str(index),
            str(record["prompt"]["index"]),
            f"{record['predicted_iou']:.3f}",
            "-" if stability is None else f"{stability:.3f}",
            str(record["area"]),
            ", ".join(map(str, record["bbox"] or ["empty"])),
        )
    return table


def _footer(document: dict[str, Any]) -> str:
    """What ran where, how long each stage took, and which files there are now."""
    bundle, backend, timing = document["bundle"], document["backend"], document["timing_ms"]
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in timing.items())
    lines = [
        f"{bundle['model']} {bundle['precision']} on {backend['name']} {backend['version']}, "
        f"device {backend['device']}",
        f"ms: {stages}",
        *(f"wrote {path}" for path in document["files"]),
    ]
    return "\n".join(lines)


COMMAND = segment
