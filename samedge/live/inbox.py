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


_TOLERANCE_S = 1e-3
"""Timestamps are rounded: a frame may be due so much earlier."""


class Spacing:
    """Chooses frames by their own times, at most one in each step.

    Choices keep to a grid, so that a late frame does not shift all others; a clock that jumps
    starts a new one.

    Args:
        step_s: between two frames; 0 takes all.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._due_s: float | None = None

    def takes(self, at_s: float) -> bool:
        """Whether a frame of this time is taken."""
        step, due = self._step_s, self._due_s
        if due is None or not -step <= at_s - due < step:
            due = at_s
        if at_s < due - _TOLERANCE_S:
            return False
        self._due_s = due + step
        return True


class Inbox:
    """A :class:`~samedge.live.mailbox.Mailbox` with a lock around it.

    Args:
        intake: which frames may be taken, and when.
        spacing_s: least time between two frames that may be taken, by the source's own clock where
            it has one; 0 takes all.
    """

    def __init__(self, intake: Intake, *, spacing_s: float = 0.0) -> None:
        self._box: Mailbox[Parcel] = Mailbox(intake)
        self._every, self._spacing = intake.every, Spacing(spacing_s)
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
            unwanted: Parcel | None = parcel
            if not self._is_wanted(parcel):
                self._box = self._box.miss(1, Drop.SKIPPED)
            else:
                if waits:
                    self._changed.wait_for(lambda: self._box.waiting is None or self._box.is_closed)
                self._box, unwanted = self._box.put(parcel)
                self._changed.notify_all()
        _release(unwanted)

    def _is_wanted(self, parcel: Parcel) -> bool:
        if parcel.number % self._every:
            return False
        return self._spacing.takes(parcel.captured_s if parcel.pts_s is None else parcel.pts_s)

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
