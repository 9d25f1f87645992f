"""How old masks are on a recording at its own pace: what ``samedge bench --stream`` measures."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

from samedge.errors import SourceError
from samedge.live.camera import Camera
from samedge.live.following import Figures, Followed, follow
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import subject
from samedge.records import StreamRow, subject_fields
from samedge.tracking.settings import TrackerSettings
from samedge.tracking.tracker import Tracker
from samedge.types import Prompt

_WARM_UP = 0.1  # share of the results after which memory counts as settled
_STATM = Path("/proc/self/statm")


def measure_stream(
    predictor: Predictor,
    video: Path,
    *,
    name: str | None = None,
    box: tuple[float, float, float, float] | None = None,
    settings: TrackerSettings | None = None,
    on_frame: Callable[[Followed], None] | None = None,
) -> StreamRow:
    """Follow one object in a recording that is played at its own pace; the newest frame wins.

    Args:
        predictor: an open bundle.
        video: a file or a folder of pictures.
        name: the bundle as the user named it.
        box: around the object in the first frame, pixels; ``None`` takes the middle half.
        settings: of the tracker.
        on_frame: called with each result, for a progress line.

    Raises:
        SourceError, BackendUnavailableError: the recording cannot be read.
        PromptError: the box shows nothing in the first frame.
    """
    wanted = _prompt(video, box)
    predictor.load()  # before the first frame, which would wait for it
    tracker = Tracker(predictor, settings=settings)
    figures, memory, size = Figures(), [], [0, 0]
    stamps: list[float] = []
    with Camera(video, drop=True) as camera:
        for followed in follow(camera, tracker, prompts=[wanted]):
            figures.add(followed)
            stamps.append(followed.frame.captured_s)
            memory.append(resident_bytes())
            size = list(followed.frame.size)
            if on_frame is not None:
                on_frame(followed)
        counts = camera.counts
    seconds = (figures.last_s or 0.0) - (figures.first_s or 0.0)
    played_s = stamps[-1] - stamps[0] if stamps else 0.0
    return StreamRow(
        source=video.name,
        size=size,
        seconds=round(seconds, 3),
        n=len(figures.ages_ms),
        age_p50_ms=figures.age_ms(50),
        age_p95_ms=figures.age_ms(95),
        frames_per_s=figures.frames_per_s,
        captured_per_s=round((counts.captured - 1) / played_s, 3) if played_s else None,
        captured=counts.captured,
        processed=counts.processed,
        dropped=counts.dropped,
        dropped_share=None if counts.dropped_share is None else round(counts.dropped_share, 6),
        rss_growth_bytes=_growth(memory),
        ask_every=tracker.settings.ask_every,
        **subject_fields(subject(predictor, name=name)),
    )


def _prompt(video: Path, box: tuple[float, float, float, float] | None) -> Prompt:
    if box is not None:
        return Prompt(box=box)
    with Camera(video) as camera:
        first = camera.take()
        if first is None:
            raise SourceError(f"{video} holds no frame.")
        camera.done()
    height, width = first.size
    return Prompt(box=(width / 4, height / 4, width * 3 / 4, height * 3 / 4))


def resident_bytes() -> int | None:
    """Memory of this process now; ``None`` where the system does not say."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()


def _growth(memory: list[int | None]) -> int | None:
    """Memory at the end beyond that after the warm-up."""
    known = [value for value in memory if value is not None]
    if len(known) < 2 or sys.platform != "linux":
        return None
    return known[-1] - known[int(len(known) * _WARM_UP)]
