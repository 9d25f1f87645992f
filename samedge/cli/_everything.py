"""``samedge everything``: automatic masks of whole images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge.cli import output
from samedge.cli.image_options import images_and_bundle

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.predict.everything import AutomaticMask, EverythingConfig
    from samedge.predict.predictor import Predictor
    from samedge.types import Size

EPILOG = """\b
Examples:
  samedge everything photo.jpg -o overlay.png
  samedge everything photo.jpg --points-per-side 16 --format coco -o masks.json
  samedge everything *.jpg --bundle out/intel --format sam -o masks/
"""

SUFFIXES = {"overlay": "_everything.png", "coco": "_everything.json", "sam": "_everything.json"}


@click.command("everything", epilog=EPILOG)
@images_and_bundle
@click.option(
    "--points-per-side", type=click.IntRange(1), default=32, show_default=True, metavar="N"
)
@click.option(
    "--predicted-iou",
    type=click.FloatRange(0, 1),
    metavar="T",
    help="Drop masks that the model itself rates lower.  [default: SAM's 0.88; the embedded "
    "model's 0.6]",
)
@click.option(
    "--stability",
    type=click.FloatRange(0, 1),
    metavar="T",
    help="Drop masks that change more with the threshold.  [default: SAM's 0.95; the embedded "
    "model's 0.75]",
)
@click.option(
    "--crop-layers",
    type=click.IntRange(0, 4),
    default=0,
    show_default=True,
    metavar="N",
    help="Look at 2 x 2 crops too, for small things; 2 adds 4 x 4.",
)
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
    type=click.Choice(sorted(SUFFIXES)),
    help="What to write. [default: .json coco, else overlay]",
)
@output.standard_options
def everything(
    out: output.Output,
    *,
    images: tuple[Path, ...],
    bundle: Path | None,
    backend: str | None,
    device: str | None,
    points_per_side: int,
    predicted_iou: float | None,
    stability: float | None,
    crop_layers: int,
    output_path: Path | None,
    file_format: str | None,
) -> None:
    """Find the masks of an image without a prompt: a grid of clicks, filtered, without duplicates.

    Settings and defaults are those of SAM's automatic mask generator, but for thresholds of the
    embedded model, which rates its masks lower.
    """
    from samedge.predict.everything import EverythingConfig
    from samedge.predict.subjects import open_predictor

    files = _files(images, output_path, file_format)
    opened, _ = open_predictor(
        None if bundle is None else str(bundle), backend=backend, device=device
    )
    with opened as predictor:
        config = EverythingConfig.for_bundle(
            predictor.manifest,
            points_per_side=points_per_side,
            pred_iou_threshold=predicted_iou,
            stability_threshold=stability,
            crop_layers=crop_layers,
        )
        documents = [
            _one(out, predictor, path, config=config, target=target, file_format=kind)
            for path, (target, kind) in zip(images, files, strict=True)
        ]
    document = documents[0] if len(documents) == 1 else {"results": documents}
    out.result(document, *(part for entry in documents for part in (_table(entry), _footer(entry))))
    if output_path is None and file_format is None and not out.json:
        out.note("Nothing was written; add -o overlay.png to see the masks.")


def _files(
    images: Sequence[Path], output_path: Path | None, file_format: str | None
) -> list[tuple[Path | None, str]]:
    """What to write for each image, and in which format; a path of ``None`` writes nothing."""
    is_json = output_path is not None and output_path.suffix.lower() == ".json"
    kind = file_format or ("coco" if is_json else "overlay")
    if output_path is None and file_format is None:
        return [(None, kind)] * len(images)
    is_folder = output_path is None or output_path.is_dir() or not output_path.suffix
    if len(images) > 1 and not is_folder:
        raise click.UsageError(
            f"{output_path} is one file for {len(images)} images: name a folder with -o."
        )
    folder = output_path or Path()
    return [(folder / f"{p.stem}{SUFFIXES[kind]}" if is_folder else folder, kind) for p in images]


def _one(
    out: output.Output,
    predictor: Predictor,
    path: Path,
    *,
    config: EverythingConfig,
    target: Path | None,
    file_format: str,
) -> dict[str, Any]:
    """Segment one image, write its file, and return its document."""
    from samedge.formats.mask_files import save_picture, write_json
    from samedge.pixels.images import load_image
    from samedge.pixels.overlay import draw_masks
    from samedge.predict import everything as library

    image = load_image(path)
    size = image.shape[0], image.shape[1]
    total = library.batch_count(size, config)
    start = time.perf_counter()
    with out.progress(path.name, total=total) as advance:
        masks = library.segment_everything(predictor, image, config=config, on_batch=advance)
    elapsed_ms = (time.perf_counter() - start) * 1000
    if target is not None and file_format == "overlay":
        stack = library.stacked(masks, size)
        save_picture(target, draw_masks(image, stack))
    elif target is not None:
        write_json(target, _file_document(path, size, masks, file_format))
    return _document(predictor, path, size, masks=masks, elapsed_ms=elapsed_ms, target=target)


def _file_document(
    path: Path, size: Size, masks: Sequence[AutomaticMask], file_format: str
) -> dict[str, Any]:
    from samedge.formats.mask_files import coco_document
    from samedge.predict.everything import sam_document

    if file_format == "sam":
        return sam_document(path.name, size, masks)
    return coco_document([(path.name, size, [mask.record() for mask in masks])])


def _document(
    predictor: Predictor,
    path: Path,
    size: Size,
    *,
    masks: Sequence[AutomaticMask],
    elapsed_ms: float,
    target: Path | None,
) -> dict[str, Any]:
    import dataclasses

    manifest = predictor.manifest
    return {
        "image": {"path": str(path), "height": size[0], "width": size[1]},
        "bundle": {
            "id": manifest.id,
            "model": manifest.model.name,
            "target": manifest.target,
            "precision": manifest.precision,
            "input_size": manifest.input_size,
        },
        "backend": dataclasses.asdict(predictor.active_backend()),
        "masks": [mask.record() for mask in masks],
        "timing_ms": {"load": predictor.timing_ms["load"], "everything": elapsed_ms},
        "files": [] if target is None else [target],
    }


def _table(document: dict[str, Any]) -> Table:
    image = document["image"]
    table = output.table("Mask", "Predicted IoU", "Stability", "Area", "Point", "Box (x, y, w, h)")
    table.title = f"{image['path']}, {image['width']} x {image['height']} px"
    for index, record in enumerate(document["masks"]):
        table.add_row(
            str(index),
            f"{record['predicted_iou']:.3f}",
            f"{record['stability_score']:.3f}",
            str(record["area"]),
            ", ".join(f"{value:.0f}" for value in record["point"]),
            ", ".join(map(str, record["bbox"])),
        )
    return table


def _footer(document: dict[str, Any]) -> str:
    bundle, backend = document["bundle"], document["backend"]
    lines = [
        f"{len(document['masks'])} masks in {document['timing_ms']['everything'] / 1000:.1f} s: "
        f"{bundle['model']} {bundle['precision']} on {backend['name']} {backend['version']}, "
        f"device {backend['device']}",
        *(f"wrote {path}" for path in document["files"]),
    ]
    return "\n".join(lines)


COMMAND = everything
