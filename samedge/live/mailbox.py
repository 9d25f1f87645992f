"""A mailbox of one: the newest frame wins, and every frame is counted.

The state is a value and its transitions are pure, so that ten thousand schedules can be tried
without a thread. Who shares it between threads holds a lock around each transition.

At every moment ``captured == processed + dropped + in_flight``.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar


class Letter(Protocol):
    """What a mailbox holds: anything with a capture number and a capture time."""

    @property
    def number(self) -> int:
        """How many frames the source had captured before it."""

    @property
    def captured_s(self) -> float:
        """When it was captured, in seconds."""


L = TypeVar("L", bound=Letter)


class Drop(str, enum.Enum):
    """Why a captured frame was never processed."""

    REPLACED = "replaced"  # a newer one came first
    UNSENT = "unsent"  # the capture process had nowhere to put it
    SKIPPED = "skipped"  # `every` leaves it out
    TOO_OLD = "too_old"  # older than `max_age_ms` when it could have been taken
    DAMAGED = "damaged"  # the source sent half of it
    WRONG_SIZE = "wrong_size"  # not the size that was asked for
    LOST = "lost"  # it died with its capture process
    CLOSED = "closed"  # nobody wanted it any more


@dataclasses.dataclass(frozen=True)
class Counts:
    """What became of every captured frame.

    Attributes:
        captured: frames that the source gave.
        processed: frames that somebody took and finished.
        in_flight: the one that waits, and those that somebody has taken and not finished.
        dropped_by: frames that nobody took, by reason.
    """

    captured: int = 0
    processed: int = 0
    in_flight: int = 0
    dropped_by: Mapping[Drop, int] = dataclasses.field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """Frames that nobody took."""
        return sum(self.dropped_by.values())

    @property
    def dropped_share(self) -> float | None:
        """Dropped frames of all that are settled; ``None`` while there is none."""
        settled = self.processed + self.dropped
        return self.dropped / settled if settled else None

    def and_dropped(self, count: int, why: Drop) -> Mapping[Drop, int]:
        """``dropped_by`` with some more."""
        if not count:
            return self.dropped_by
        return {**self.dropped_by, why: self.dropped_by.get(why, 0) + count}


@dataclasses.dataclass(frozen=True)
class Intake:
    """Which captured frames may be taken, and when.

    Attributes:
        every: one frame in so many.
        max_age_s: frames older than this are never taken; ``None`` sets no limit.
        min_interval_s: time between two takes; 0 takes as fast as it can.
    """

    every: int = 1
    max_age_s: float | None = None
    min_interval_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Mailbox(Generic[L]):
    """The state of a mailbox; each transition returns the next one.

    Attributes:
        intake: which frames may be taken, and when.
        waiting: the newest captured frame, if nobody has taken it yet.
        counts: what became of all frames.
        due_s: when the next one may be taken; ``None`` is at once.
        is_closed: nobody takes frames any more.
    """

    intake: Intake = dataclasses.field(default_factory=Intake)
    waiting: L | None = None
    counts: Counts = dataclasses.field(default_factory=Counts)
    due_s: float | None = None
    is_closed: bool = False

    def put(self, letter: L) -> tuple[Mailbox[L], L | None]:
        """A frame was captured. It replaces the one that waits.

        Returns:
            The next state, and the frame that nobody will take: the replaced one, or the new one
            itself when it is not wanted.
        """
        before = self.waiting
        if before is not None and letter.number <= before.number:
            raise ValueError(f"Frame {letter.number} came after frame {before.number}.")
        if self.is_closed:
            return self.miss(1, Drop.CLOSED), letter
        if letter.number % self.intake.every:
            return self.miss(1, Drop.SKIPPED), letter
        counts = dataclasses.replace(
            self.counts,
            captured=self.counts.captured + 1,
            in_flight=self.counts.in_flight + (before is None),
            dropped_by=self.counts.and_dropped(int(before is not None), Drop.REPLACED),
        )
        return dataclasses.replace(self, waiting=letter, counts=counts), before

    def miss(self, count: int, why: Drop) -> Mailbox[L]:
        """Frames were captured that can never be taken."""
        counts = dataclasses.replace(
            self.counts,
            captured=self.counts.captured + count,
            dropped_by=self.counts.and_dropped(count, why),
        )
        return dataclasses.replace(self, counts=counts)

    def take(self, at_s: float) -> tuple[Mailbox[L], L | None, L | None]:
        """Somebody would take the frame that waits; ``done`` says when they have finished it.

        Takes keep to a grid of ``min_interval_s``, so that a late one does not shift all others; a
        pause of more than one step starts a new grid.

        Args:
            at_s: now.

        Returns:
            The next state; the frame, if one waits and may be taken now; and the frame that nobody
            will take, if it has passed its age.
        """
        letter = self.waiting
        if letter is None or (self.due_s is not None and at_s < self.due_s):
            return self, None, None
        oldest = self.intake.max_age_s
        if oldest is not None and at_s - letter.captured_s > oldest:
            return self._without(Drop.TOO_OLD), None, letter
        step = self.intake.min_interval_s
        due_s = None
        if step:
            on_grid = at_s if self.due_s is None or at_s - self.due_s > step else self.due_s
            due_s = on_grid + step
        return dataclasses.replace(self, waiting=None, due_s=due_s), letter, None

    def done(self) -> Mailbox[L]:
        """Somebody has finished a frame that they took."""
        if self.counts.in_flight - (self.waiting is not None) < 1:
            raise ValueError("done() without a frame that was taken.")
        counts = dataclasses.replace(
            self.counts,
            processed=self.counts.processed + 1,
            in_flight=self.counts.in_flight - 1,
        )
        return dataclasses.replace(self, counts=counts)

    def close(self) -> tuple[Mailbox[L], L | None]:
        """Nobody takes frames any more; also returns the frame that waited."""
        letter = self.waiting
        box = self if letter is None else self._without(Drop.CLOSED)
        return dataclasses.replace(box, is_closed=True), letter

    def _without(self, why: Drop) -> Mailbox[L]:
        counts = dataclasses.replace(
            self.counts,
            in_flight=self.counts.in_flight - 1,
            dropped_by=self.counts.and_dropped(1, why),
        )
        return dataclasses.replace(self, waiting=None, counts=counts)
