"""``samedge segment``: points, boxes and masks to masks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.image_options import (
    ImageRun,
    focus_option,
    image_options,
    mask_rows,
    refine_option,
    report,
    segmented,
    word_cell,
)
from samedge.cli.prompt_types import BOX, POINT

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.formats.masks import MaskRecord
    from samedge.predict.focus import FocusMode
    from samedge.predict.segmentation import Segmentation
    from samedge.predict.words.answers import WordAnswer
    from samedge.types import Array, Prompt

Numbers = tuple[float, ...]

_LOWEST_HINT = 0.05  # below it the best region shows something else

EPILOG = """\b
Examples:
  samedge segment photo.jpg --point 320,240 --format overlay -o overlay.png
  samedge segment photo.jpg --point 320,240 --point 40,40,0 -o mask.png
  samedge segment photo.jpg --box 10,20,200,220 --box 220,20,400,200 -o masks.json
  samedge segment a.jpg b.jpg --bundle out/intel --point 100,100 --format overlay -o overlays/
  samedge segment photo.jpg --box 10,20,200,220 --json
  samedge segment photo.jpg --text "dog, cat" -o found.jpg
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
    "palette's or label map's values but 0, or alpha. Alone, its own box goes with it.",
)
@click.option(
    "--mask-value", type=int, metavar="N", help="The one label or grey level that is inside."
)
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="WORDS",
    help="Names of things to find, commas between them; again for more.",
)
@click.option(
    "--score",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="T",
    help="Find only what scores higher for its word.  [default: the bundle's own]",
)
@click.option("--multimask", is_flag=True, help="Return all three candidates of each prompt.")
@click.option(
    "--min-area",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="PX",
    help="Mend holes and islands of fewer pixels; with --text, drop smaller masks, too.",
)
@focus_option(
    "auto",
    "Look again, closer, at what is small, for one more encode each, two where it is a box, and "
    "32 at most; or at everything; or never.",
)
@refine_option("0 with --focus never, else 1")
@output.standard_options
def segment(
    out: output.Output,
    *,
    run: ImageRun,
    points: tuple[Numbers, ...],
    boxes: tuple[Numbers, ...],
    mask_paths: tuple[Path, ...],
    mask_value: int | None,
    texts: tuple[str, ...],
    score: float | None,
    multimask: bool,
    min_area: int,
    focus: FocusMode,
    refine: int | None,
) -> None:
    """Segment what points, boxes or an earlier mask show, in pixels of the upright image.

    All points are one prompt. Several boxes are a batch. A point and a box together are one prompt,
    and so is a mask with either. Words find things by their names, and go alone. An image that
    cannot be read is listed at the end; the others' masks are written.
    """
    _refuse_lost(texts, score=score, multimask=multimask, mask_value=mask_value)
    if refine is not None:
        _refuse_unasked(boxes, mask_paths, multimask=multimask)
    drawn = bool(points or boxes or mask_paths)
    one = (
        _finder(texts, score, drawn=drawn, min_area=min_area)
        if texts
        else _segmenter(
            _prompts(points, boxes, _mask(mask_paths, mask_value)),
            multimask=multimask,
            min_area=min_area,
        )
    )
    run = run.with_pictures()
    destination, names, workers = run.destination(), run.names(), run.workers()
    with (
        run.open(focus=focus, refine=refine) as predictor,
        destination.open() as writer,
        out.progress("Segmenting", total=len(run.images)) as bar,
    ):
        made = functools.partial(one, predictor.beside(workers), sample_range=run.sample_range)
        outcomes = segmented(
            run,
            lambda path: made(path, name=names[path]),
            writer=writer,
            progress=bar.progress,
            workers=workers,
        )
    table = _word_table if texts else _table
    manifest, skipped = predictor.manifest, run.skipped
    report(out, outcomes, manifest=manifest, writer=writer, table=table, skipped=skipped)
    if not destination.writes and not out.json:
        out.note("Nothing was written; add -o overlay.jpg to see the masks.")


def _segmenter(
    prompts: list[Prompt], *, multimask: bool, min_area: int
) -> Callable[..., Segmentation]:
    from samedge.predict.segmentation import segment_image

    return functools.partial(segment_image, prompts=prompts, multimask=multimask, min_area=min_area)


def _refuse_lost(
    texts: Sequence[str], *, score: float | None, multimask: bool, mask_value: int | None
) -> None:
    """Say which options mean nothing with words, or without, instead of losing them."""
    if score is not None and not texts:
        raise click.UsageError("--score is of words: give --text, or leave it out.")
    extra = {"--multimask": multimask, "--mask-value": mask_value is not None}
    given = [option for option, is_given in extra.items() if is_given]
    if texts and given:
        raise click.UsageError(f"--text takes no {' and '.join(given)}: leave that out.")


def _refuse_unasked(
    boxes: Sequence[Numbers], mask_paths: Sequence[Path], *, multimask: bool
) -> None:
    """Refuse ``--refine`` where nothing is asked again."""
    if not boxes or mask_paths:
        raise click.UsageError(
            "--refine asks again about boxes: give --box and no --mask, or leave it out."
        )
    if multimask:
        raise click.UsageError("--refine takes no --multimask: candidates are not asked again.")


def _finder(
    texts: tuple[str, ...], score: float | None, *, drawn: bool, min_area: int
) -> Callable[..., Segmentation]:
    from samedge.predict.everything import EverythingConfig
    from samedge.predict.words.files import find_in_file

    if drawn:
        raise click.UsageError("Words go alone: give --text, or --point, --box and --mask.")
    config = EverythingConfig(min_area=min_area)  # all else is the bundle's
    return functools.partial(find_in_file, words=texts, threshold=score, config=config)


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
        raise click.UsageError("Say what to segment: give --point, --box, --mask or --text.")
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


def _word_table(outcome: Segmentation) -> Table:
    """The masks of one image by their words, and what the words found, for people."""
    table = output.table("Mask", "Word", "Predicted IoU", "Stability", "Area", "Box (x, y, w, h)")
    mask_rows(table, outcome, cell=word_cell)
    table.caption = "; ".join(map(_said, outcome.words))
    return table


def _said(answer: WordAnswer) -> str:
    """What a word found; for nothing, which --score would take the best region all the same."""
    if answer.best_score is None:
        return f"{answer.word}: {answer.found} found, best score none"
    told = f"{answer.word}: {answer.found} found, best score {answer.best_score:.2f}"
    lower = math.floor(answer.best_score * 100) / 100
    needs_no_hint = answer.found or lower < _LOWEST_HINT
    return told if needs_no_hint else f"{told} (take it all the same: --score {lower})"


def _prompt_index(record: MaskRecord) -> str:
    import msgspec

    return "-" if isinstance(record.prompt, msgspec.UnsetType) else str(record.prompt.index)


COMMAND = segment
