"""What the commands that follow objects share: their options, and what they say at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge import _discovery
from samedge.cli import failures, output
from samedge.cli.bundle_field import bundle_field
from samedge.cli.gathering import gathered
from samedge.cli.image_options import (
    backend_option,
    bundle_option,
    device_option,
    refine_option,
)
from samedge.cli.measure_types import DURATION
from samedge.cli.name_types import OneOf
from samedge.cli.number_options import count_option
from samedge.cli.prompt_types import BOX, POINT
from samedge.cli.refusing import refuse_output, refuse_source

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.live.camera import Camera
    from samedge.live.following import Followed
    from samedge.live.recording import FollowRecord, Output
    from samedge.predict.predictor import Predictor
    from samedge.tracking.settings import TrackerSettings
    from samedge.tracking.tracker import Tracker
    from samedge.types import Prompt

Numbers = tuple[float, ...]
FORMATS = _discovery.names("samedge.live.sinks")


@dataclasses.dataclass(frozen=True)
class FollowRun:
    """What is followed, with what, and where it goes.

    Attributes:
        source: of the frames.
        boxes: one object each.
        points: one object, all together.
        mask_paths: one object each.
        texts: words.
        bundle: a path or an embedded model's name; ``None`` is the embedded model.
        backend: ``None`` takes the best one here for an embedded model, else the bundle's own.
        device: the backend's own string.
        threads: processor threads.
        refine: how many times boxes are asked about again.
        output_paths: files and folders.
        file_format: of the first of them; the others go by their endings.
        every: one frame in so many.
        max_age: milliseconds.
        target_fps: frames a second at most.
    """

    source: str
    boxes: tuple[Numbers, ...]
    points: tuple[Numbers, ...]
    mask_paths: tuple[Path, ...]
    texts: tuple[str, ...]
    bundle: str | None
    backend: str | None
    device: str | None
    threads: int | None
    refine: int | None
    output_paths: tuple[Path, ...]
    file_format: str | None
    every: int
    max_age: float | None
    target_fps: float | None

    def prompts(self) -> list[Prompt]:
        """One prompt an object: boxes first, then the points, the masks, and what words name.

        Raises:
            PromptError: one that is none.
        """
        from samedge.pixels.mask_images import load_mask
        from samedge.types import Prompt

        found = [Prompt(box=box) for box in self.boxes]
        if self.points:
            clicks = [point[:2] for point in self.points]
            labels = [int(point[2]) for point in self.points]
            found.append(Prompt(points=clicks, labels=labels))
        found += [Prompt(mask=load_mask(path)) for path in self.mask_paths]
        found += [Prompt(text=words) for words in self.texts]
        if not found:
            raise click.UsageError("Say what to follow: give --box, --point, --mask or --text.")
        return found

    def outputs(self) -> list[Output]:
        """What to write, checked before there is any work.

        Raises:
            OptionError: an ending that nothing is written to, or one path twice.
            WriteError: the recording itself, or a place where nothing can be written.
        """
        from samedge.errors import OptionError
        from samedge.live import sinks
        from samedge.live.recording import Output

        if self.file_format is not None and not self.output_paths:
            raise click.UsageError("--format is of the first output: give -o, or leave it out.")
        if len({path.absolute() for path in self.output_paths}) < len(self.output_paths):
            raise OptionError(
                f"-o {', '.join(map(str, self.output_paths))} names one path twice: give each once."
            )
        for path in self.output_paths:
            refuse_source(path, (Path(self.source),))
        kinds = [self.file_format, *[None] * len(self.output_paths)]
        found = [
            Output(sinks.from_path(path, kind), path)
            for kind, path in zip(kinds, self.output_paths, strict=False)
        ]
        for one in found:
            refuse_output(one.path, is_folder="" in sinks.get(one.kind).endings)
        return found

    def open(self) -> Predictor:
        """Open the bundle.

        Raises:
            BundleError, BackendUnavailableError, InferenceError: as ``Predictor.from_bundle``.
        """
        from samedge.predict.subjects import named_predictor

        return named_predictor(
            self.bundle,
            backend=self.backend,
            device=self.device,
            threads=self.threads,
            refine=self.refine,
        )


_PROMPTS = (
    click.option(
        "--box",
        "boxes",
        type=BOX,
        multiple=True,
        metavar="X0,Y0,X1,Y1",
        help="A box around an object in the first frame; again for more objects.",
    ),
    click.option(
        "--point",
        "points",
        type=POINT,
        multiple=True,
        metavar="X,Y[,LABEL]",
        help="A click: 1 foreground (default), 0 background. All clicks are one object.",
    ),
    click.option(
        "--mask",
        "mask_paths",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="PNG",
        help="An object's mask in the first frame, white inside; again for more objects.",
    ),
    click.option(
        "--text",
        "texts",
        multiple=True,
        metavar="WORDS",
        help="Names of things: all of them that the first frame shows; again for more.",
    ),
)
_MODEL = (
    bundle_option,
    backend_option,
    device_option,
    count_option("--threads", text="Processor threads."),
    refine_option("0"),
)
_RESULTS = (
    click.option(
        "-o",
        "--output",
        "output_paths",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="PATH",
        help="What to write, again for more: .mp4 an overlay video, .jsonl a line a frame, .json "
        "COCO's video format, a folder for masks.",
    ),
    click.option(
        "--format",
        "file_format",
        type=OneOf("format", FORMATS),
        metavar="FORMAT",
        help=f"Of the first output: {', '.join(FORMATS)}. [default: by its ending]",
    ),
    click.option(
        "--every",
        type=click.IntRange(1),
        default=1,
        metavar="N",
        help="Follow one frame in N.",
    ),
    click.option(
        "--max-age",
        type=DURATION,
        metavar="MS",
        help="Never begin with a frame that is older.",
    ),
    click.option(
        "--target-fps",
        type=click.FloatRange(0, min_open=True),
        metavar="FPS",
        help="Follow at most so many frames a second.",
    ),
)


ASK_EVERY = click.option(
    "--ask-every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Ask the model in one followed frame of N, and where an object is in doubt; motion alone "
    "carries its mask in between.",
)
"""For whatever follows live, where a frame that costs less is one that is not dropped."""

follow_options = gathered(FollowRun, (*_PROMPTS, *_MODEL, *_RESULTS))
"""What is followed and where it goes, as a command's argument ``run``."""


def tracker(predictor: Predictor, *, settings: TrackerSettings | None = None) -> Tracker:
    """What follows: boxes, points and masks as they are, words by finding their things first."""
    from samedge.predict.words.files import drawn_prompts
    from samedge.tracking.tracker import Tracker

    return Tracker(
        predictor,
        settings=settings,
        reader=lambda image, prompts: drawn_prompts(predictor, image, prompts=prompts),
    )


def progress_remark(camera: Camera, followed: Followed) -> str:
    """What a progress line says after a frame."""
    lost = sum(found.status.value == "lost" for found in followed.objects)
    counts = camera.counts
    return (
        f"age {followed.age_ms:.0f} ms, dropped {counts.dropped} of {counts.captured}"
        f"{f', {lost} lost' if lost else ''}"
    )


def report(
    out: output.Output, predictor: Predictor, *, record: FollowRecord, is_unseen: bool
) -> None:
    """Print what following gave; a run that Ctrl-C ended exits as interrupted programs do.

    Args:
        out: where to.
        predictor: that followed.
        record: what it gave.
        is_unseen: whether the masks were neither written nor shown.
    """
    manifest, active = predictor.manifest, predictor.active_backend()
    head = {
        "bundle": bundle_field(manifest),
        "backend": {"name": active.name, "version": active.version, "device": active.device},
    }
    import msgspec

    document = {**head, **msgspec.to_builtins(record)}
    where = f"{manifest.model.name} {manifest.precision} on {active.name}, device {active.device}"
    out.result(document, _table(record), *_lines(record, where))
    if is_unseen and not out.json:
        out.note("Nothing was written; add -o followed.mp4 to see the masks.")
    if record.interrupted:
        click.get_current_context().exit(failures.INTERRUPTED)


def _table(record: FollowRecord) -> Table:
    table = output.table("Object", "Frames followed", "Frames lost")
    for found in record.objects:
        table.add_row(str(found.id), str(found.followed), str(found.lost))
    return table


def _lines(record: FollowRecord, where: str) -> Sequence[str]:
    frames, age = record.frames, record.mask_age
    share = "" if frames.dropped_share is None else f" ({frames.dropped_share:.1%})"
    rate = "" if record.frames_per_s is None else f"{record.frames_per_s:.1f} frames/s"
    ranks = {} if age is None else {"p50": age.p50_ms, "p95": age.p95_ms}
    ages = [f"{rank} {value:.1f} ms" for rank, value in ranks.items() if value is not None]
    figures = [f"age of a mask {', '.join(ages)}" if ages else "", rate]
    speed = "; ".join(filter(None, figures))
    return [
        where,
        *([speed] if speed else []),
        f"frames: {frames.captured} captured = {frames.processed} processed + {frames.dropped} "
        f"dropped{share} + {frames.in_flight} in flight",
        *(f"wrote {path}" for path in record.files),
    ]
