"""``samedge segment``: points, boxes and masks to masks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from samedge.cli import output
from samedge.cli.image_options import (
    ImageRun,
    focus_option,
    image_options,
    mask_rows,
    report,
    segmented,
)
from samedge.cli.prompt_types import BOX, POINT

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.formats.masks import MaskRecord
    from samedge.predict.focus import FocusMode
    from samedge.predict.segmentation import Segmentation
    from samedge.types import Array, Prompt

Numbers = tuple[float, ...]

EPILOG = """\b
Examples:
  samedge segment photo.jpg --point 320,240 --format overlay -o overlay.png
  samedge segment photo.jpg --point 320,240 --point 40,40,0 -o mask.png
  samedge segment photo.jpg --box 10,20,200,220 --box 220,20,400,200 -o masks.json
  samedge segment a.jpg b.jpg --bundle out/intel --point 100,100 --format overlay -o overlays/
  samedge segment photo.jpg --box 10,20,200,220 --json
"""


@click.command("segment", epilog=EPILOG)
@image_options
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
    "mask_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PNG",
    help="An earlier mask of the same image to start from, read by what it is: white or 1, a "
    "palette's or label map's values but 0, or alpha.",
)
@click.option(
    "--mask-value", type=int, metavar="N", help="The one label or grey level that is inside."
)
@click.option("--text", metavar="WORDS", help="Words, for models that understand them.")
@click.option("--multimask", is_flag=True, help="Return all three candidates of each prompt.")
@click.option(
    "--min-area",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="PX",
    help="Mend holes and islands of fewer pixels.",
)
@focus_option(
    "auto",
    "Look again, closer, at what is small, for one more encode each and 16 at most; or at "
    "everything; or never.",
)
@output.standard_options
def segment(
    out: output.Output,
    *,
    run: ImageRun,
    points: tuple[Numbers, ...],
    boxes: tuple[Numbers, ...],
    mask_paths: tuple[Path, ...],
    mask_value: int | None,
    text: str | None,
    multimask: bool,
    min_area: int,
    focus: FocusMode,
) -> None:
    """Segment what points, boxes or an earlier mask show, in pixels of the upright image.

    All points are one prompt. Several boxes are a batch. A point and a box together are one prompt,
    and so is a mask with either. An image that cannot be read is listed at the end; the others'
    masks are written.
    """
    from samedge.predict.segmentation import segment_image

    if text is not None:
        _refuse_text(text, run)
    prompts = _prompts(points, boxes, _mask(mask_paths, mask_value))
    run = run.with_pictures()
    destination, names = run.destination(), run.names()
    with (
        run.open(focus=focus) as predictor,
        destination.open() as writer,
        out.progress("Segmenting", total=len(run.images)) as bar,
    ):
        one = functools.partial(
            segment_image,
            predictor,
            prompts=prompts,
            multimask=multimask,
            min_area=min_area,
            sample_range=run.sample_range,
        )
        outcomes = segmented(
            run,
            lambda path: one(path, name=names[path]),
            writer=writer,
            progress=bar.progress,
        )
    report(out, outcomes, manifest=predictor.manifest, writer=writer, table=_table)
    if not destination.writes and not out.json:
        out.note("Nothing was written; add -o overlay.jpg to see the masks.")


def _refuse_text(text: str, run: ImageRun) -> None:
    from samedge.bundle.bundle import Bundle, bundle_path
    from samedge.errors import PromptError

    model = Bundle.open(bundle_path(run.bundle), verify=False).manifest.model.name
    raise PromptError(
        f"--text {text!r}: no model in this bundle understands words; {model} takes points, boxes "
        "and masks. Give --point X,Y or --box X0,Y0,X1,Y1."
    )


def _mask(paths: Sequence[Path], value: int | None) -> Array | None:
    from samedge.pixels.mask_images import load_mask

    if len(paths) > 1:
        raise click.UsageError(
            f"--mask was given {len(paths)} times, and a prompt takes one: call once for each."
        )
    if value is not None and not paths:
        raise click.UsageError("--mask-value needs --mask: it says what is inside of that file.")
    return load_mask(paths[0], value=value) if paths else None


def _prompts(
    points: Sequence[Numbers], boxes: Sequence[Numbers], mask: Array | None
) -> list[Prompt]:
    """Points are one prompt; boxes are one each; points and a mask join the one box."""
    from samedge.types import Prompt

    if not points and not boxes and mask is None:
        raise click.UsageError("Say what to segment: give --point, --box or --mask.")
    if len(boxes) > 1 and (points or mask is not None):
        raise click.UsageError(
            f"{len(boxes)} boxes are a batch, which points and masks cannot join: "
            "give one box with them, or call once for each box."
        )
    clicks = [point[:2] for point in points]
    labels = [int(point[2]) for point in points]
    return [Prompt(points=clicks, labels=labels, box=box, mask=mask) for box in boxes or (None,)]


def _table(outcome: Segmentation) -> Table:
    """The masks of one image for people."""
    table = output.table("Mask", "Prompt", "Predicted IoU", "Stability", "Area", "Box (x, y, w, h)")
    return mask_rows(table, outcome, cell=_prompt_index)


def _prompt_index(record: MaskRecord) -> str:
    return "-" if isinstance(record.prompt, msgspec.UnsetType) else str(record.prompt.index)


COMMAND = segment
