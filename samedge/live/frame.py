"""One frame as it was captured, with the clock that says how old it is."""

from __future__ import annotations

import dataclasses
import time

from samedge.types import Array, Size


def now_s() -> float:
    """Seconds on the clock that frames are stamped with.

    It is the system's monotonic clock, which all processes of one machine share and nobody sets.
    """
    return time.monotonic()


@dataclasses.dataclass(frozen=True, eq=False)
class VideoFrame:
    """A frame of a video or a camera.

    Attributes:
        image: (H, W, 3) uint8 RGB; nobody else writes to it.
        number: how many frames the source had captured before it, dropped ones included.
        captured_s: when it was captured, on the clock of :func:`now_s`.
        pts_s: the source's own timestamp in seconds, or ``None`` where it has none.
    """

    image: Array
    number: int
    captured_s: float
    pts_s: float | None = None

    @property
    def size(self) -> Size:
        """``(height, width)`` in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def age_ms(self, at_s: float | None = None) -> float:
        """Milliseconds since the capture.

        Args:
            at_s: until when, on the clock of :func:`now_s`; ``None`` is now.
        """
        return ((now_s() if at_s is None else at_s) - self.captured_s) * 1e3
