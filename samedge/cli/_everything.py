"""``samedge everything``: automatic masks of whole images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.image_options import (
    ImageRun,
    focus_option,
    image_options,
    mask_rows,
    report,
    segmented,
    word_cell,
)
from samedge.cli.tile_options import overlap_option, tiles_option, tiling_of

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.formats.base import Format, Writer
    from samedge.formats.masks import MaskRecord
    from samedge.pixels.tiles import Tiling
    from samedge.predict.everything import EverythingConfig
    from samedge.predict.focus import FocusMode
    from samedge.predict.predictor import Predictor
    from samedge.predict.segmentation import Outcome, Segmentation

EPILOG = """\b
Examples:
  samedge everything photo.jpg -o overlay.jpg
  samedge everything photo.jpg --points-per-side 16 --format coco -o masks.json
  samedge everything *.jpg --bundle out/intel --format sam -o masks/
  samedge everything aerial.tif --tiles 2048 -o aerial.json
"""


@click.command("everything", epilog=EPILOG)
@image_options
@click.option(
    "--points-per-side",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Clicks along each side of the grid. [default: the bundle's]",
)
@click.option(
    "--predicted-iou",
    type=click.FloatRange(0, 1),
    metavar="IOU",
    help="Drop masks that the model itself rates lower. [default: the bundle's]",
)
@click.option(
    "--stability",
    type=click.FloatRange(0, 1),
    metavar="IOU",
    help="Drop masks that change more with the threshold. [default: the bundle's]",
)
@click.option(
    "--crop-layers",
    type=click.IntRange(0, 4),
    metavar="N",
    help="Look at 2 x 2 crops too, for small things; 2 adds 4 x 4. [default: the bundle's]",
)
@click.option(
    "--coarse-to-fine/--every-point",
    default=None,
    help="Skip points that a good mask covers already, or decode every one. [default: the "
    "bundle's]",
)
@click.option(
    "--min-area",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="PX",
    help="Mend holes and islands of fewer pixels, and drop smaller masks.",
)
@focus_option(
    "never",
    "Draw small masks again from closer looks, for at most 32 more encodes; or all that a part of "
    "the image shows larger; or none.",
)
@tiles_option
@overlap_option
@click.option("--label", is_flag=True, help="Name what is found, where the bundle knows words.")
@output.standard_options
def everything(
    out: output.Output,
    *,
    run: ImageRun,
    points_per_side: int | None,
    predicted_iou: float | None,
    stability: float | None,
    crop_layers: int | None,
    coarse_to_fine: bool | None,
    min_area: int,
    focus: FocusMode,
    tiles: int | None,
    tile_overlap: int | None,
    label: bool,
) -> None:
    """Find the masks of an image without a prompt: a grid of clicks, filtered, without duplicates.

    After SAM's automatic mask generator. Settings that are not given are the bundle's, measured for
    its model. Masks say which of them they are a part of. An image that cannot be read is listed at
    the end; the others' masks are written.
    """
    from samedge.predict.everything import EverythingConfig

    tiling = tiling_of(tiles, tile_overlap)
    run = run.with_pictures()
    destination = run.destination()
    with run.open(focus=focus) as predictor, destination.open() as writer:
        config = EverythingConfig.for_bundle(
            predictor.manifest,
            points_per_side=points_per_side,
            pred_iou_threshold=predicted_iou,
            stability_threshold=stability,
            crop_layers=crop_layers,
            coarse_to_fine=coarse_to_fine,
            min_area=min_area,
        )
        into = destination.format if destination.writes else None
        segment = _segmenter(predictor, label=label, tiling=tiling, into=into)
        outcomes = _outcomes(out, run, predictor, writer, config=config, segment=segment)
    table = _word_table if label else _table
    manifest, skipped = predictor.manifest, run.skipped
    report(out, outcomes, manifest=manifest, writer=writer, table=table, skipped=skipped)
    if not destination.writes and not out.json:
        out.note("Nothing was written; add -o overlay.jpg to see the masks.")


def _segmenter(
    predictor: Predictor, *, label: bool, tiling: Tiling | None, into: Format | None
) -> Callable[..., Segmentation]:
    """What finds the masks of a file: with names, by tiles, or as it is."""
    from samedge.predict.everything import everything_in_file
    from samedge.predict.everything_tiles import everything_in_tiles
    from samedge.predict.words.files import label_file, label_in_tiles
    from samedge.predict.words.regions import RegionScorer

    if label:
        RegionScorer(predictor.graphs)  # a bundle without words is refused before the work
    if tiling is None:
        return label_file if label else everything_in_file
    by_tiles = label_in_tiles if label else everything_in_tiles
    return functools.partial(by_tiles, tiling=tiling, into=into)


def _outcomes(
    out: output.Output,
    run: ImageRun,
    predictor: Predictor,
    writer: Writer,
    *,
    config: EverythingConfig,
    segment: Callable[..., Segmentation],
) -> list[Outcome]:
    """Every image with a progress bar of its own, as each takes long."""
    names = run.names()

    def one(path: Path) -> Segmentation:
        with out.progress(path.name) as bar:
            return segment(
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


def _word_table(outcome: Segmentation) -> Table:
    """The masks of one image and their words, for people."""
    table = output.table("Mask", "Word", "Predicted IoU", "Stability", "Area", "Box (x, y, w, h)")
    return mask_rows(table, outcome, cell=word_cell)


def _point(record: MaskRecord) -> str:
    import msgspec

    if isinstance(record.point, msgspec.UnsetType):
        return "-"
    return ", ".join(f"{value:.0f}" for value in record.point)


COMMAND = everything
