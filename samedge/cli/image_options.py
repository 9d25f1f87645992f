"""What the commands that segment images share: what they are given, and what they say of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from samedge import _discovery
from samedge.cli import output
from samedge.cli.bundle_field import bundle_field
from samedge.cli.gathering import gathered
from samedge.cli.name_types import OneOf
from samedge.cli.prompt_types import RANGE
from samedge.cli.refusing import refuse_source

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.bundle.manifest import Manifest
    from samedge.formats.base import Writer
    from samedge.formats.destination import Destination
    from samedge.formats.masks import MaskRecord
    from samedge.pixels.folder_listing import Listing, SkippedFiles
    from samedge.pixels.sample_range import SampleRange
    from samedge.predict.focus import FocusMode
    from samedge.predict.predictor import Predictor
    from samedge.predict.segmentation import Outcome, Segmentation
    from samedge.types import Progress

_Command = TypeVar("_Command", bound=Callable[..., Any])

FORMATS = _discovery.names("samedge.formats")


@dataclasses.dataclass(frozen=True)
class ImageRun:
    """The images of a command, what runs on them, and where the masks go.

    Attributes:
        images: their files, or folders of them, as they were given.
        bundle: a path or an embedded model's name; ``None`` is the embedded model.
        backend: ``None`` takes the best one here for an embedded model, else the bundle's own.
        device: the backend's own string.
        sample_range: which samples of an image become black and white.
        output_path: a file or folder.
        file_format: a format's name.
        skipped: of the folders that were given, what is no picture.
    """

    images: tuple[Path, ...]
    bundle: str | None
    backend: str | None
    device: str | None
    sample_range: SampleRange
    output_path: Path | None
    file_format: str | None
    skipped: tuple[SkippedFiles, ...] = ()

    def with_pictures(self) -> ImageRun:
        """The same run, with the pictures of each folder that was given in its place.

        Raises:
            ImageError: a folder has none.
        """
        images, skipped = _pictures(self.images)
        return dataclasses.replace(self, images=images, skipped=skipped)

    def destination(self) -> Destination:
        """Where the masks go, checked before there is any work.

        Raises:
            ImageError: path, format and number of images do not fit each other.
            WriteError: it is one of the images, or nothing can be written there.
        """
        from samedge.errors import ImageError
        from samedge.formats.destination import Destination

        try:
            destination = Destination(self.output_path, self.file_format, images=len(self.images))
        except ImageError:
            self._check_words()
            raise
        if destination.writes and not destination.is_folder:
            refuse_source(destination.path, self.images)
        destination.check(list(self.names().values()))
        return destination

    def _check_words(self) -> None:
        """Tell a word that lost its quotes from an image, where one file cannot hold them all."""
        from samedge.errors import ImageError

        missing = [image for image in self.images if not os.path.lexists(image)]
        if missing and len(self.images) > 1:
            raise ImageError(
                f"There is no {missing[0]}, which stands where an image is expected: check the "
                "path, and put quotes around words with blanks between them."
            )

    def open(self, *, focus: FocusMode = "never", refine: int | None = None) -> Predictor:
        """Open the bundle.

        Args:
            focus: when small things get a second look.
            refine: how many times boxes are asked about again; ``None``: once with ``focus``.

        Raises:
            BundleError, BackendUnavailableError, InferenceError: as ``Predictor.from_bundle``.
        """
        from samedge.predict.subjects import named_predictor

        predictor = named_predictor(
            self.bundle, backend=self.backend, device=self.device, focus=focus, refine=refine
        )
        if len(self.images) == 1:  # it needs both graphs; several may go through other predictors
            predictor.load()
        return predictor

    def workers(self) -> int:
        """How many images are segmented at a time where that pays."""
        from samedge.predict.ordered import usual_workers

        return min(usual_workers(), len(self.images))

    def names(self) -> dict[Path, str]:
        """What files call each image: its path from the images' common folder."""
        from samedge.formats.destination import common_names

        return dict(zip(self.images, common_names(self.images), strict=True))


bundle_option = click.option(
    "--bundle",
    metavar="DIR",
    help="An exported bundle, or an embedded model's name. [default: samedge-nano]",
)

backend_option = click.option(
    "--backend", metavar="B", help="Library that runs it. [default: the best one here]"
)

device_option = click.option(
    "--device", metavar="D", help="Device of that library, such as cpu, GPU or NPU."
)

range_option = click.option(
    "--range",
    "sample_range",
    type=RANGE,
    default="auto",
    show_default=True,
    metavar="auto|full|LOW,HIGH",
    help="Samples of more than 8 bits that become black and white: measured, all of the type's, or "
    "these two.",
)


def focus_option(default: str, text: str) -> Callable[[_Command], _Command]:
    """``--focus``, with the command's own default.

    Args:
        default: one of the three words.
        text: what it does there.
    """
    return click.option(
        "--focus",
        type=click.Choice(("auto", "never", "always")),
        default=default,
        show_default=True,
        metavar="auto|never|always",
        help=text,
    )


def refine_option(default: str) -> Callable[[_Command], _Command]:
    """``--refine``, with the command's own default in words."""
    return click.option(
        "--refine",
        type=click.IntRange(0, 8),
        metavar="N",
        help="Ask about each box N more times, with the logits of its answer, for one more decode "
        f"each. [default: {default}]",
    )


_OPTIONS = (
    click.argument(
        "images",
        nargs=-1,
        required=True,
        metavar="IMAGE...",
        type=click.Path(path_type=Path, readable=False),  # one that is not ends only itself
    ),
    bundle_option,
    backend_option,
    device_option,
    range_option,
    click.option(
        "-o",
        "--output",
        "output_path",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="File to write; a folder when there are several images.",
    ),
    click.option(
        "--format",
        "file_format",
        type=OneOf("format", FORMATS),
        metavar="FORMAT",
        help=f"What to write: {', '.join(FORMATS)}. [default: by the file's ending: .png a black "
        "and white picture a mask, .jpg an overlay, .json coco, .npz arrays]",
    ),
)


image_options = gathered(ImageRun, _OPTIONS)
"""``IMAGE...``, what runs, and where masks go, as a command's argument ``run``."""


def _pictures(given: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[SkippedFiles, ...]]:
    """Files as they are given, of folders the pictures in them, and what else is in those."""
    found: list[Path] = []
    skipped: list[SkippedFiles] = []
    for path in given:
        listing = _in_folder(path) if path.is_dir() else None
        found += [path] if listing is None else listing.pictures
        skipped += [] if listing is None else listing.skipped
    return tuple(found), tuple(skipped)


def _in_folder(folder: Path) -> Listing:
    from samedge.errors import ImageError
    from samedge.pixels.folder_listing import pictures_listed
    from samedge.pixels.image_files import IMAGE_SUFFIXES

    listing = pictures_listed(folder, below=False)
    if not listing.pictures:
        raise ImageError(
            f"{folder} holds no picture ({', '.join(IMAGE_SUFFIXES)}): name the folder that has "
            f"them; those inside of it are not searched.{listing.instead()}"
        )
    return listing.tell()


def segmented(
    run: ImageRun,
    segment: Callable[[Path], Segmentation],
    *,
    writer: Writer,
    progress: Progress | None = None,
    workers: int = 1,
) -> list[Outcome]:
    """Segment every image and write its masks; one that fails ends nothing but itself.

    Args:
        run: what was asked for.
        segment: makes the masks of one image.
        writer: where the masks go; closed here, so that the outcomes name every file.
        progress: hears of every image.
        workers: images segmented at a time.
    """
    from samedge.predict.segmentation import Segmentation, segment_files
    from samedge.types import Steps

    outcomes: list[Outcome] = []
    steps = Steps(len(run.images), progress=progress)
    for outcome in segment_files(run.images, segment, writer=writer, workers=workers):
        outcomes.append(outcome)
        steps.step()
    kept = tuple(writer.close())
    return [
        dataclasses.replace(outcome, files=(*outcome.files, *kept))
        if isinstance(outcome, Segmentation)
        else outcome
        for outcome in outcomes
    ]


def report(
    out: output.Output,
    outcomes: Sequence[Outcome],
    *,
    manifest: Manifest,
    writer: Writer,
    table: Callable[[Segmentation], Table],
    skipped: Sequence[SkippedFiles] = (),
) -> None:
    """Print what a run made of its images: one document, then what failed.

    Args:
        out: of the command.
        outcomes: one an image.
        manifest: of the bundle that ran.
        writer: already closed; tells what was left out.
        table: draws the masks of one image for people.
        skipped: what of the folders that were given is no picture; it was told already.

    Raises:
        Exception: the one image's own error, where there was one image only.
    """
    from samedge.predict.segmentation import Failed, Segmentation

    failures = [entry for entry in outcomes if isinstance(entry, Failed)]
    if failures and len(outcomes) == 1:
        raise failures[0].error
    left_out = dict(+writer.left_out)
    entries = [_entry(out, manifest, outcome) for outcome in outcomes]
    document = entries[0] if len(entries) == 1 else {"results": entries}
    parts: list[Table | str] = []
    for outcome in outcomes:
        if isinstance(outcome, Segmentation):
            parts += [table(outcome), *footer(manifest, outcome)]
    extra = {"skipped_files": skipped} if skipped else {}
    out.result({**document, "left_out": left_out, **extra}, *parts)
    for reason, count in left_out.items():
        out.note(f"left out: {count} {reason}")
    out.failed([(str(failure.path), failure.error) for failure in failures])


_PROMISED = {"segment": ("load", "preprocess", "encode", "decode", "postprocess")}
"""Stages that a command's document always has: with words, most are not measured apart."""


def _entry(out: output.Output, manifest: Manifest, outcome: Outcome) -> dict[str, object]:
    from samedge.cli.failures import error_record
    from samedge.predict.segmentation import Failed

    if isinstance(outcome, Failed):
        image = {"path": str(outcome.path), "height": None, "width": None}
        return {"image": image, "error": error_record(outcome.error, command=out.command)}
    height, width = outcome.found.size
    return {
        "image": {"path": str(outcome.path), "height": height, "width": width},
        "bundle": bundle_field(manifest),
        "backend": dataclasses.asdict(outcome.backend),
        "masks": outcome.found.masks,
        **({"words": outcome.words} if outcome.words else {}),
        "timing_ms": {**dict.fromkeys(_PROMISED.get(out.command, ())), **outcome.timing_ms},
        "files": outcome.files,
    }


def footer(manifest: Manifest, outcome: Segmentation) -> list[str]:
    """What ran where, how long each stage took, and which files there are now."""
    backend = outcome.backend
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in outcome.timing_ms.items())
    return [
        f"{manifest.model.name} {manifest.precision} on {backend.name} {backend.version}, "
        f"device {backend.device}",
        f"ms: {stages}",
        *(f"wrote {path}" for path in outcome.files),
    ]


_MOST_ROWS = 1000
"""Of the masks that people see; a picture by tiles may have a hundred thousand."""


def mask_rows(table: Table, outcome: Segmentation, *, cell: Callable[[MaskRecord], str]) -> Table:
    """Fill a table with an image's masks: number, the command's own cell, and what all have."""
    height, width = outcome.found.size
    table.title = f"{outcome.path}, {width} x {height} px"
    if len(outcome.found.masks) > _MOST_ROWS:
        table.caption = f"and {len(outcome.found.masks) - _MOST_ROWS} more"
    for index, record in enumerate(outcome.found.masks[:_MOST_ROWS]):
        table.add_row(
            str(index),
            cell(record),
            *map(_figure, (record.predicted_iou, record.stability_score)),
            str(record.area),
            ", ".join(map(str, record.bbox or ["empty"])),
        )
    return table


def word_cell(record: MaskRecord) -> str:
    """A mask's word and its score, for tables."""
    if not isinstance(record.word_score, float):
        return "-"
    return f"{record.category_name} {record.word_score:.2f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
