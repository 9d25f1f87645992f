"""The watch over a source: frozen, black, damaged, of another size, or with a clock that jumps.

Pure: what was seen so far is a value, and each sighting gives the next one and what is wrong now.
"""

from __future__ import annotations

import dataclasses
import enum
import zlib

import numpy as np

from samedge.types import Array, Size

_SAMPLES_A_SIDE = 64


class Fault(str, enum.Enum):
    """What can be wrong with a source."""

    FROZEN = "frozen"
    BLACK = "black"
    DAMAGED = "damaged"
    WRONG_SIZE = "wrong_size"
    CLOCK_JUMP = "clock_jump"
    STALLED = "stalled"
    VANISHED = "vanished"


@dataclasses.dataclass(frozen=True)
class WatchSettings:
    """When a source counts as faulty.

    Attributes:
        stalled_s: no frame for so long.
        open_s: not open after so long; a stream may send its first whole picture late.
        recording_s: no frame of a recording for so long. It is not opened again, so that it is
            given more time: a busy machine and a slow disk are no faults.
        frozen_s: the same picture for so long, to the bit: a real sensor is never that still.
        frozen_frames: ... and in so many frames at least.
        black_s: nothing but black for so long.
        black_level: mean brightness of 255 that still is black.
        damaged_frames: so many damaged frames in a row.
        jump_s: timestamps that differ by so much more than the time that passed, or run back.
        size: ``(height, width)`` that every frame must have; ``None`` takes the first frame's.
    """

    stalled_s: float = 3.0
    open_s: float = 20.0
    recording_s: float = 120.0
    frozen_s: float = 3.0
    frozen_frames: int = 5
    black_s: float = 5.0
    black_level: float = 6.0
    damaged_frames: int = 5
    jump_s: float = 5.0
    size: Size | None = None


@dataclasses.dataclass(frozen=True)
class Sighting:
    """What the watch looks at of one captured frame.

    Attributes:
        at_s: when it was captured.
        pts_s: the source's own timestamp.
        size: ``(height, width)``; ``None`` for a damaged frame.
        fingerprint: equal for equal pictures.
        brightness: mean of 0 to 255.
    """

    at_s: float
    pts_s: float | None
    size: Size | None
    fingerprint: int = 0
    brightness: float = 255.0


def look(image: Array) -> tuple[int, float]:
    """Fingerprint and brightness of a picture, from a grid of its pixels.

    Args:
        image: (H, W, 3) uint8.
    """
    steps = [max(1, side // _SAMPLES_A_SIDE) for side in image.shape[:2]]
    sample = np.ascontiguousarray(image[:: steps[0], :: steps[1]])
    return zlib.crc32(sample.data), float(sample.mean())


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the watch remembers of a source.

    Attributes:
        last: the last whole frame.
        still_since_s: since when the picture has been the same.
        still_frames: in how many frames.
        black_since_s: since when it has been black.
        damaged_in_row: damaged frames since the last whole one.
        faults: what is wrong now, so that each fault is told once.
    """

    last: Sighting | None = None
    still_since_s: float = 0.0
    still_frames: int = 0
    black_since_s: float | None = None
    damaged_in_row: int = 0
    faults: frozenset[Fault] = frozenset()


def observe(
    seen: Seen, sighting: Sighting, *, settings: WatchSettings
) -> tuple[Seen, frozenset[Fault]]:
    """Look at the next captured frame.

    Returns:
        What to remember, and the faults that begin with this frame.
    """
    if sighting.size is None:
        return _damaged(seen, settings)
    faults = set()
    if settings.size not in (None, sighting.size) or _changed_size(seen, sighting, settings):
        faults.add(Fault.WRONG_SIZE)
    if _jumped(seen.last, sighting, settings):
        faults.add(Fault.CLOCK_JUMP)
    still_since_s, still_frames = _stillness(seen, sighting)
    still_s = sighting.at_s - still_since_s
    if still_frames >= settings.frozen_frames and still_s >= settings.frozen_s:
        faults.add(Fault.FROZEN)
    black_since_s = _black_since(seen, sighting, settings)
    if black_since_s is not None and sighting.at_s - black_since_s >= settings.black_s:
        faults.add(Fault.BLACK)
    now = Seen(
        last=sighting,
        still_since_s=still_since_s,
        still_frames=still_frames,
        black_since_s=black_since_s,
        faults=frozenset(faults),
    )
    return now, now.faults - (seen.faults - {Fault.CLOCK_JUMP})


def _damaged(seen: Seen, settings: WatchSettings) -> tuple[Seen, frozenset[Fault]]:
    count = seen.damaged_in_row + 1
    faults = seen.faults | ({Fault.DAMAGED} if count >= settings.damaged_frames else set())
    now = dataclasses.replace(seen, damaged_in_row=count, faults=frozenset(faults))
    return now, now.faults - seen.faults


def _changed_size(seen: Seen, sighting: Sighting, settings: WatchSettings) -> bool:
    return settings.size is None and seen.last is not None and seen.last.size != sighting.size


def _jumped(last: Sighting | None, sighting: Sighting, settings: WatchSettings) -> bool:
    if last is None or last.pts_s is None or sighting.pts_s is None:
        return False
    stepped, passed = sighting.pts_s - last.pts_s, sighting.at_s - last.at_s
    return stepped < 0 or abs(stepped - passed) > settings.jump_s


def _stillness(seen: Seen, sighting: Sighting) -> tuple[float, int]:
    """Since when the picture has been the same, and in how many frames."""
    if seen.last is None or seen.last.fingerprint != sighting.fingerprint:
        return sighting.at_s, 1
    return seen.still_since_s, seen.still_frames + 1


def _black_since(seen: Seen, sighting: Sighting, settings: WatchSettings) -> float | None:
    if sighting.brightness > settings.black_level:
        return None
    return sighting.at_s if seen.black_since_s is None else seen.black_since_s


@dataclasses.dataclass(frozen=True)
class BackOff:
    """How long to wait before a source is opened again.

    Attributes:
        first_s: the first pause.
        factor: how much longer each next one is.
        most_s: the longest.
        settled_s: after so much time without a fault the first pause comes again.
        tries: openings in a row that may fail before it is an error; ``None`` tries for ever.
        at_start: also wait for a source that has never been open yet, such as a camera that
            starts later than the robot; otherwise the first failure is an error.
    """

    first_s: float = 0.5
    factor: float = 2.0
    most_s: float = 30.0
    settled_s: float = 10.0
    tries: int | None = None
    at_start: bool = False

    def pause_s(self, failures: int) -> float:
        """Pause after so many failures in a row, the first being 1."""
        return float(min(self.most_s, self.first_s * self.factor ** min(failures - 1, 64)))
