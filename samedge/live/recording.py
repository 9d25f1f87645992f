"""Follows, draws, writes, and sums up: what the commands ``track`` and ``camera`` do."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from samedge.live import sinks
from samedge.live.camera import Camera
from samedge.live.following import Figures, Followed, follow
from samedge.live.frame import now_s
from samedge.live.mailbox import Counts
from samedge.live.sinks.base import Drawn
from samedge.pixels.overlay import draw_masks
from samedge.tracking.base import Status
from samedge.tracking.tracker import Tracker
from samedge.types import Array, Prompt

Watcher = Callable[[Drawn], bool]
"""Sees each drawn frame; ``False`` ends the following."""


@dataclasses.dataclass(frozen=True)
class Output:
    """A file or folder to write.

    Attributes:
        kind: name of a kind of sink.
        path: of the file or folder.
    """

    kind: str
    path: Path


class FrameCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every captured frame; they add up."""

    captured: int
    processed: int
    dropped: int
    in_flight: int
    dropped_share: float | None
    dropped_by: dict[str, int]


class AgeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How old masks were when they were there; ``None`` with too few of them for a percentile."""

    n: int
    p50_ms: float | None
    p95_ms: float | None


class ObjectSummary(msgspec.Struct, frozen=True, kw_only=True):
    """In how many frames an object was followed, and in how many it was lost."""

    id: int
    followed: int
    lost: int


class FollowRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What following gave.

    Attributes:
        source: as it was given, without a password.
        is_live: whether the source has no end of its own.
        frames: counts.
        mask_age: from the capture to the masks; ``None`` where the source waits for the tracker,
            and the age would say how far it was read ahead.
        frames_per_s: results a second, the encoder included.
        objects: in the order of their ids.
        events: what happened to the source.
        interrupted: whether Ctrl-C ended it.
        files: that were written.
    """

    source: str
    is_live: bool
    frames: FrameCounts
    mask_age: AgeRecord | None
    frames_per_s: float | None
    objects: list[ObjectSummary]
    events: list[str]
    interrupted: bool
    files: list[str]


def record(
    camera: Camera,
    tracker: Tracker,
    *,
    prompts: Sequence[Prompt],
    outputs: Sequence[Output] = (),
    watchers: Sequence[Watcher] = (),
    fps: float | None = None,
    seconds: float | None = None,
    on_frame: Callable[[Followed], None] | None = None,
) -> FollowRecord:
    """Follow a camera's objects to its end, and write what was asked for.

    Ctrl-C ends the following, and the files are finished.

    Args:
        camera: an open one.
        tracker: of an open bundle.
        prompts: about the first frame.
        outputs: files and folders.
        watchers: see each frame with its masks drawn on it.
        fps: frames a second of a video whose frames have no timestamps.
        seconds: end after so long, also while no frame comes; ``None`` goes on to the source's end.
        on_frame: called with each frame, for a progress line.

    Raises:
        WriteError, OSError: a file cannot be written; what the others hold is finished.
        PromptError, SourceError, InferenceError: as ``follow``.
    """
    figures, seen = Figures(), Counter[tuple[int, Status]]()
    interrupted = False
    kinds = [sinks.get(output.kind) for output in outputs]
    draws = bool(watchers) or any(kind.draws for kind in kinds)
    until_s = None if seconds is None else now_s() + seconds
    following = follow(camera, tracker, prompts=prompts, until_s=until_s)
    with contextlib.ExitStack() as stack:
        recordings = [
            stack.enter_context(kind.open(output.path, fps=fps))
            for kind, output in zip(kinds, outputs, strict=True)
        ]
        frames = stack.enter_context(contextlib.closing(following))
        try:
            for followed in frames:
                figures.add(followed)
                seen.update((found.id, found.status) for found in followed.objects)
                drawn = Drawn(followed, overlay(followed) if draws else None)
                for recording in recordings:
                    recording.write(drawn)
                if on_frame is not None:
                    on_frame(followed)
                answers = [watcher(drawn) for watcher in watchers]
                if not all(answers):
                    break
        except KeyboardInterrupt:
            interrupted = True
    return FollowRecord(
        source=camera.name,
        is_live=camera.is_live,
        frames=frame_counts(camera.counts),
        mask_age=age_record(figures) if camera.drops else None,
        frames_per_s=figures.frames_per_s,
        objects=_summaries(seen),
        events=[event.message for event in camera.events],
        interrupted=interrupted,
        files=[str(output.path) for output in outputs],
    )


def overlay(followed: Followed) -> Array:
    """The frame with the masks of its objects, (H, W, 3) uint8 RGB.

    Colours go by the order of ids, so that an object keeps its own.
    """
    size = followed.frame.size
    masks = [found.mask for found in followed.objects]
    stacked = np.stack(masks) if masks else np.zeros((0, *size), np.bool_)
    return draw_masks(followed.frame.image, stacked)


def frame_counts(counts: Counts) -> FrameCounts:
    """Counts as JSON."""
    share = counts.dropped_share
    return FrameCounts(
        captured=counts.captured,
        processed=counts.processed,
        dropped=counts.dropped,
        in_flight=counts.in_flight,
        dropped_share=None if share is None else round(share, 6),
        dropped_by={why.value: count for why, count in counts.dropped_by.items()},
    )


def age_record(figures: Figures) -> AgeRecord:
    """Ages as JSON."""
    return AgeRecord(n=len(figures.ages_ms), p50_ms=figures.age_ms(50), p95_ms=figures.age_ms(95))


def _summaries(seen: Counter[tuple[int, Status]]) -> list[ObjectSummary]:
    ids = sorted({object_id for object_id, _ in seen})
    return [
        ObjectSummary(
            id=object_id,
            followed=seen[object_id, Status.FOLLOWED],
            lost=seen[object_id, Status.LOST],
        )
        for object_id in ids
    ]
