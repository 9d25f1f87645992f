"""The mailbox of one, shared between the thread that captures and those that process."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from samedge.live.frame import VideoFrame, now_s
from samedge.live.mailbox import Counts, Drop, Intake, Mailbox
from samedge.types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Parcel:
    """A captured frame whose pixels have not been copied yet.

    Attributes:
        unpack: copies the pixels, (H, W, 3) uint8.
        release: says that the pixels are no longer needed; called once.
    """

    number: int
    captured_s: float
    pts_s: float | None
    unpack: Callable[[], Array]
    release: Callable[[], None]


class Inbox:
    """A :class:`~samedge.live.mailbox.Mailbox` with a lock around it."""

    def __init__(self, intake: Intake) -> None:
        self._box: Mailbox[Parcel] = Mailbox(intake)
        self._changed = threading.Condition()
        self._ended = False
        self._error: Exception | None = None

    @property
    def counts(self) -> Counts:
        """What became of every captured frame so far."""
        with self._changed:
            return self._box.counts

    @property
    def is_finished(self) -> bool:
        """Whether no frame will come any more."""
        with self._changed:
            return self._has_no_more()

    def put(self, parcel: Parcel, *, waits: bool = False) -> None:
        """A frame was captured.

        Args:
            parcel: the frame.
            waits: until the one before it was taken, instead of replacing it.
        """
        with self._changed:
            if waits:
                self._changed.wait_for(lambda: self._box.waiting is None or self._box.is_closed)
            self._box, unwanted = self._box.put(parcel)
            self._changed.notify_all()
        _release(unwanted)

    def miss(self, count: int, why: Drop) -> None:
        """Frames were captured that can never be taken."""
        with self._changed:
            self._box = self._box.miss(count, why)

    def end(self, error: Exception | None = None) -> None:
        """No frame will come any more.

        Args:
            error: what whoever takes the next frame is told instead.
        """
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self, timeout_s: float | None = None) -> VideoFrame | None:
        """The newest frame, when one may be taken; call :meth:`done` when it is finished.

        Args:
            timeout_s: how long to wait; ``None`` waits for ever.

        Returns:
            The frame, or ``None`` at the end of the source or of the time.

        Raises:
            SamedgeError: the source has failed for good.
        """
        deadline = None if timeout_s is None else now_s() + timeout_s
        parcel = self._next_parcel(deadline)
        if parcel is None:
            return None
        image = parcel.unpack()
        parcel.release()
        return VideoFrame(image, parcel.number, parcel.captured_s, parcel.pts_s)

    def done(self) -> None:
        """A taken frame is finished."""
        with self._changed:
            self._box = self._box.done()

    def close(self) -> None:
        """Drop what waits and take nothing more."""
        with self._changed:
            self._box, unwanted = self._box.close()
            self._changed.notify_all()
        _release(unwanted)

    def _next_parcel(self, deadline: float | None) -> Parcel | None:
        with self._changed:
            while True:
                now = now_s()
                self._box, parcel, too_old = self._box.take(now)
                _release(too_old)
                if parcel is not None:
                    self._changed.notify_all()
                    return parcel
                if self._has_no_more():
                    self._raise_error()
                    return None
                if deadline is not None and now >= deadline:
                    return None
                due = self._box.due_s if self._box.waiting is not None else None
                self._changed.wait(_shortest(now, deadline, due))

    def _has_no_more(self) -> bool:
        return self._box.is_closed or (self._ended and self._box.waiting is None)

    def _raise_error(self) -> None:
        if self._error is not None and not self._box.is_closed:
            raise self._error


def _release(parcel: Parcel | None) -> None:
    if parcel is not None:
        parcel.release()


def _shortest(now: float, *moments: float | None) -> float | None:
    """Seconds until the first of some moments; ``None`` without any."""
    pauses = [max(0.0, moment - now) for moment in moments if moment is not None]
    return min(pauses, default=None)
