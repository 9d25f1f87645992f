"""The mailbox of one under ten thousand schedules, with a clock that only the test moves."""

from __future__ import annotations

import bisect
import dataclasses

import numpy as np
import pytest

from samedge.live.mailbox import Counts, Drop, Intake, Mailbox

SCHEDULES = 10_000


@dataclasses.dataclass(frozen=True)
class Shot:
    number: int
    captured_s: float


@dataclasses.dataclass
class Simulation:
    """A source and one to three consumers on a fake clock.

    Everything that is captured, taken or lost is written down independently of the mailbox.
    """

    rng: np.random.Generator
    intake: Intake
    consumers: int
    captured: list[Shot] = dataclasses.field(default_factory=list)
    taken: list[tuple[float, Shot]] = dataclasses.field(default_factory=list)
    finished: int = 0
    missed: int = 0

    def run(self) -> Mailbox[Shot]:
        box: Mailbox[Shot] = Mailbox(self.intake)
        interval, work = self.rng.uniform(0.001, 0.1), self.rng.uniform(0.001, 0.2)
        now, next_capture = 0.0, float(self.rng.uniform(0, 0.1))
        busy: list[float] = []
        for _ in range(int(self.rng.integers(5, 60))):
            events = [next_capture, *busy]
            if box.waiting is not None and box.due_s is not None and len(busy) < self.consumers:
                events.append(max(now, box.due_s))
            now = min(events)
            if now == next_capture:
                box = self._capture(box, now)
                next_capture += float(interval * self.rng.exponential())
            for ended in [until for until in busy if until <= now]:
                busy.remove(ended)
                box, self.finished = box.done(), self.finished + 1
            while len(busy) < self.consumers:
                before = box
                box, shot, too_old = box.take(now)
                self.check(box, len(busy) + (shot is not None))
                if shot is not None:
                    self.taken.append((now, shot))
                    busy.append(now + float(work * self.rng.exponential()))
                elif too_old is None:
                    assert box == before
                    break
            self.check(box, len(busy))
        return self._drain(box, busy)

    def _capture(self, box: Mailbox[Shot], now: float) -> Mailbox[Shot]:
        shot = Shot(len(self.captured) + self.missed, now)
        if self.rng.random() < 0.1:
            self.missed += 1
            return box.miss(1, Drop.DAMAGED)
        self.captured.append(shot)
        box, unwanted = box.put(shot)
        assert unwanted is None or unwanted.number <= shot.number
        return box

    def _drain(self, box: Mailbox[Shot], busy: list[float]) -> Mailbox[Shot]:
        box, _ = box.close()
        for _ in busy:
            box, self.finished = box.done(), self.finished + 1
        self.check(box, 0)
        return box

    def check(self, box: Mailbox[Shot], busy: int) -> None:
        counts = box.counts
        assert counts.captured == len(self.captured) + self.missed
        assert counts.captured == counts.processed + counts.dropped + counts.in_flight
        assert counts.processed == self.finished
        assert counts.in_flight == busy + (box.waiting is not None)


def simulate(seed: int) -> tuple[Simulation, Mailbox[Shot]]:
    rng = np.random.default_rng(seed)
    intake = Intake(
        every=int(rng.choice([1, 1, 1, 2, 5])),
        max_age_s=float(rng.uniform(0.01, 0.2)) if rng.random() < 0.4 else None,
        min_interval_s=float(rng.uniform(0.01, 0.2)) if rng.random() < 0.4 else 0.0,
    )
    simulation = Simulation(rng, intake, consumers=int(rng.integers(1, 4)))
    return simulation, simulation.run()


def try_schedules(count: int) -> set[Drop]:
    """Simulate, check every schedule, and return every reason of a drop that occurred."""
    reasons: set[Drop] = set()
    taken = 0
    for seed in range(count):
        simulation, box = simulate(seed)
        assert box.counts.in_flight == 0
        assert box.counts.captured == box.counts.processed + box.counts.dropped
        never_stale(simulation)
        rate_held(simulation)
        reasons |= {why for why, dropped in box.counts.dropped_by.items() if dropped}
        taken += len(simulation.taken)
    assert taken > count
    return reasons


def never_stale(simulation: Simulation) -> None:
    """Each frame taken was captured, is the newest at that time, and not older than allowed."""
    intake = simulation.intake
    known = {shot.number: shot for shot in simulation.captured}
    wanted = [shot for shot in simulation.captured if shot.number % intake.every == 0]
    moments = [shot.captured_s for shot in wanted]
    last = -1
    for at_s, shot in simulation.taken:
        assert known[shot.number] is shot  # none is invented
        assert shot.number > last  # none comes twice, none runs back
        assert shot is wanted[bisect.bisect_right(moments, at_s) - 1]  # none is stale
        assert intake.max_age_s is None or at_s - shot.captured_s <= intake.max_age_s
        last = shot.number


@pytest.mark.slow
def test_ten_thousand_schedules_are_exact_and_never_stale() -> None:
    reasons = try_schedules(SCHEDULES)
    assert reasons >= {Drop.REPLACED, Drop.TOO_OLD, Drop.SKIPPED, Drop.DAMAGED, Drop.CLOSED}


def test_a_few_hundred_schedules_are_exact_and_never_stale() -> None:
    try_schedules(300)


def rate_held(simulation: Simulation) -> None:
    """No window holds more takes than the grid has points in it."""
    step = simulation.intake.min_interval_s
    if not step:
        return
    times = [at_s for at_s, _ in simulation.taken]
    for count in range(1, len(times)):
        assert times[count] - times[0] >= (count - 1) * step - 1e-9


def test_the_simulation_finds_a_mailbox_that_keeps_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The checker itself must be able to fail."""
    honest = Mailbox.put

    def stubborn(self: Mailbox[Shot], letter: Shot) -> tuple[Mailbox[Shot], Shot | None]:
        if self.waiting is not None:
            return self.miss(1, Drop.REPLACED), letter
        return honest(self, letter)

    monkeypatch.setattr(Mailbox, "put", stubborn)
    with pytest.raises(AssertionError):
        try_schedules(50)


def test_the_newest_wins() -> None:
    box: Mailbox[Shot] = Mailbox()
    box, unwanted = box.put(Shot(0, 0.0))
    assert unwanted is None
    box, unwanted = box.put(Shot(1, 0.1))
    assert unwanted == Shot(0, 0.0)
    box, taken, _ = box.take(0.2)
    assert taken == Shot(1, 0.1)
    assert box.counts == Counts(captured=2, in_flight=1, dropped_by={Drop.REPLACED: 1})
    assert box.done().counts.processed == 1
    assert box.done().counts.dropped_share == pytest.approx(0.5)


def test_what_nobody_took_cannot_be_done() -> None:
    box, _ = Mailbox[Shot]().put(Shot(0, 0.0))
    with pytest.raises(ValueError, match="without a frame"):
        box.done()


def test_a_frame_that_runs_back_is_refused() -> None:
    box, _ = Mailbox[Shot]().put(Shot(3, 0.0))
    with pytest.raises(ValueError, match="Frame 3 came after frame 3"):
        box.put(Shot(3, 0.1))


def test_takes_keep_to_their_grid() -> None:
    box: Mailbox[Shot] = Mailbox(Intake(min_interval_s=0.125))
    taken_at = []
    for tick in (0, 4, 8, 19, 23, 24, 31, 32, 72, 76, 80):
        box, _ = box.put(Shot(tick, tick / 64))
        box, taken, _ = box.take(tick / 64)
        if taken is not None:
            taken_at.append(tick)
            box = box.done()
    # A step is 8 ticks. 19 is late and shifts nothing; 72 comes after a pause and starts anew.
    assert taken_at == [0, 8, 19, 24, 32, 72, 80]


def test_a_closed_mailbox_counts_on() -> None:
    box, _ = Mailbox[Shot]().put(Shot(0, 0.0))
    box, dropped = box.close()
    assert dropped == Shot(0, 0.0)
    box, dropped = box.put(Shot(1, 0.1))
    assert dropped == Shot(1, 0.1)
    assert box.counts == Counts(captured=2, dropped_by={Drop.CLOSED: 2})
