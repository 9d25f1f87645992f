"""``samedge everything``: automatic masks of whole images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from samedge.cli import output
from samedge.cli.image_options import ImageRun, image_options, mask_rows, report, segmented

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.formats.base import Writer
    from samedge.formats.masks import MaskRecord
    from samedge.predict.everything import EverythingConfig
    from samedge.predict.predictor import Predictor
    from samedge.predict.segmentation import Outcome, Segmentation

EPILOG = """\b
Examples:
  samedge everything photo.jpg -o overlay.jpg
  samedge everything photo.jpg --points-per-side 16 --format coco -o masks.json
  samedge everything *.jpg --bundle out/intel --format sam -o masks/
"""


@click.command("everything", epilog=EPILOG)
@image_options
@click.option(
    "--points-per-side", type=click.IntRange(1), default=32, show_default=True, metavar="N"
)
@click.option(
    "--predicted-iou",
    type=click.FloatRange(0, 1),
    metavar="IOU",
    help="Drop masks that the model itself rates lower.  [default: SAM's 0.88; the embedded "
    "model's 0.6]",
)
@click.option(
    "--stability",
    type=click.FloatRange(0, 1),
    metavar="IOU",
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
@output.standard_options
def everything(
    out: output.Output,
    *,
    run: ImageRun,
    points_per_side: int,
    predicted_iou: float | None,
    stability: float | None,
    crop_layers: int,
) -> None:
    """Find the masks of an image without a prompt: a grid of clicks, filtered, without duplicates.

    Settings and defaults are those of SAM's automatic mask generator, but for thresholds of the
    embedded model, which rates its masks lower. An image that cannot be read is listed at the end;
    the others' masks are written.
    """
    from samedge.predict.everything import EverythingConfig

    destination = run.destination()
    with run.open() as predictor, destination.open() as writer:
        config = EverythingConfig.for_bundle(
            predictor.manifest,
            points_per_side=points_per_side,
            pred_iou_threshold=predicted_iou,
            stability_threshold=stability,
            crop_layers=crop_layers,
        )
        outcomes = _outcomes(out, run, predictor, writer, config=config)
    report(out, outcomes, manifest=predictor.manifest, writer=writer, table=_table)
    if not destination.writes and not out.json:
        out.note("Nothing was written; add -o overlay.jpg to see the masks.")


def _outcomes(
    out: output.Output,
    run: ImageRun,
    predictor: Predictor,
    writer: Writer,
    *,
    config: EverythingConfig,
) -> list[Outcome]:
    """Every image with a progress bar of its own, as each takes long."""
    from samedge.predict.everything import everything_in_file

    names = run.names()

    def one(path: Path) -> Segmentation:
        with out.progress(path.name) as bar:
            return everything_in_file(
                predictor,
                path,
                config=config,
                name=names[path],
                sample_range=run.sample_range,
                progress=bar.progress,
            )

    return segmented(run, one, writer=writer)


def _table(outcome: Segmentation) -> Table:
    """The masks of one image for people."""
    table = output.table("Mask", "Point", "Predicted IoU", "Stability", "Area", "Box (x, y, w, h)")
    return mask_rows(table, outcome, cell=_point)


def _point(record: MaskRecord) -> str:
    if isinstance(record.point, msgspec.UnsetType):
        return "-"
    return ", ".join(f"{value:.0f}" for value in record.point)


COMMAND = everything
