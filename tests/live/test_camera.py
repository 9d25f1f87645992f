"""Cameras that fail in every way that is known: the counts add up to the frame in each."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from samedge.errors import SourceError
from samedge.live.camera import Camera
from samedge.live.frame import VideoFrame, now_s
from samedge.live.mailbox import Counts, Drop
from samedge.live.watch import BackOff, WatchSettings
from tests.live import faulty
from tests.toys import loops

# Quick to find what is wrong with pictures; patient with a machine that does much else.
QUICK = WatchSettings(stalled_s=60.0, open_s=600.0, frozen_s=0.3, black_s=0.3)
SOON = BackOff(first_s=0.05, most_s=0.1)


@pytest.fixture(autouse=True)
def tally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tally"
    path.touch()
    monkeypatch.setenv("SAMEDGE_TEST_TALLY", str(path))
    return path


def camera(name: str, **options: object) -> Camera:
    settings: dict = {"watch": QUICK, "back_off": SOON, **options}
    return Camera(f"python:tests.live.faulty:{name}", **settings)


def add_up(counts: Counts, tally: Path, *, kills: int = 0) -> None:
    """The camera's counts are complete, and equal to the source's own count.

    A kill may fall between a frame's mark in the tally and its capture.
    """
    assert counts.in_flight == 0
    assert counts.captured == counts.processed + counts.dropped
    assert 0 <= tally.stat().st_size - counts.captured <= kills


def until(condition: Callable[[], bool], *, timeout_s: float = 600.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def kinds(source: Camera) -> list[str]:
    return [event.kind for event in source.events]


def collect(source: Camera, count: int, *, work_s: float = 0.0) -> list[VideoFrame]:
    frames = []
    for frame in source:
        frames.append(frame)
        time.sleep(work_s)
        if len(frames) == count:
            break
    return frames


def read_to_its_end(source: Camera, *, work_s: float = 0.0) -> tuple[list[VideoFrame], SourceError]:
    """All frames of a live source that is not opened again, and what it ended with."""
    frames = []
    try:
        for frame in source:
            frames.append(frame)
            time.sleep(work_s)
    except SourceError as error:
        return frames, error
    raise AssertionError("a live source has no end")


def fresh_and_in_order(frames: list[VideoFrame]) -> None:
    numbers = [frame.number for frame in frames]
    assert numbers == sorted(set(numbers))


def test_without_dropping_every_frame_is_taken(tally: Path) -> None:
    with camera("fifty", drop=False, back_off=BackOff(tries=0)) as source:
        frames, error = read_to_its_end(source)
    assert "gives no more frames" in str(error)
    fresh_and_in_order(frames)
    assert source.counts == Counts(captured=50, processed=50)
    add_up(source.counts, tally)


def test_every_pixel_arrives(tally: Path) -> None:
    with camera("steady") as source:
        for frame in collect(source, 20, work_s=0.02):
            number = faulty.number_of(frame.image)
            np.testing.assert_array_equal(frame.image, faulty.picture(number))
            assert number == frame.number
            assert 0 <= frame.captured_s <= now_s()
    add_up(source.counts, tally)


def test_a_slow_consumer_gets_fresh_frames(tally: Path) -> None:
    with camera("steady") as source:
        ages = []
        for frame in source:
            ages.append(frame.age_ms())
            time.sleep(0.1)
            if len(ages) == 10:
                break
    add_up(source.counts, tally)
    assert source.counts.dropped_by[Drop.REPLACED] > 10
    # A queue would add the work of each frame but one interval: 450 ms at the fifth.
    assert sorted(ages)[len(ages) // 2] < 400


def test_a_thousand_frames_a_second(tally: Path) -> None:
    with camera("thousand_fps", back_off=BackOff(tries=0)) as source:
        frames, _ = read_to_its_end(source, work_s=0.02)
    fresh_and_in_order(frames)
    assert all(faulty.number_of(frame.image) == frame.number for frame in frames)
    assert source.counts.captured == 1000
    add_up(source.counts, tally)


def test_a_stalled_read_is_killed_and_opened_again(tally: Path) -> None:
    with camera("stalls", watch=dataclasses.replace(QUICK, stalled_s=2.0)) as source:
        frames = collect(source, 40)
    add_up(source.counts, tally)
    fresh_and_in_order(frames)
    assert kinds(source)[:4] == ["connected", "stalled", "reconnecting", "connected"]


def test_a_crash_takes_only_its_process(tally: Path) -> None:
    with camera("dies") as source:
        frames = collect(source, 40)
    add_up(source.counts, tally)
    fresh_and_in_order(frames)
    assert kinds(source)[1:4] == ["vanished", "reconnecting", "connected"]
    assert any("SIGABRT" in event.message for event in source.events)


def test_a_sigkill_loses_no_count(tally: Path) -> None:
    with camera("steady") as source:
        seen = collect(source, 5)
        for _ in range(3):
            pid = source.capture_pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            gone = {None, pid}
            assert until(lambda: source.capture_pid not in gone)  # noqa: B023
            seen += collect(source, 5)
    add_up(source.counts, tally, kills=3)
    fresh_and_in_order(seen)
    assert kinds(source).count("reconnecting") == 3
    assert any("SIGKILL" in event.message for event in source.events)


def test_half_frames_are_never_delivered(tally: Path) -> None:
    with camera("halves", back_off=BackOff(tries=0), drop=False) as source:
        frames, _ = read_to_its_end(source)
    assert {frame.image.shape for frame in frames} == {(faulty.HEIGHT, faulty.WIDTH, 3)}
    assert source.counts.dropped_by == {Drop.DAMAGED: 20}
    add_up(source.counts, tally)


def test_a_change_of_size_is_told_and_followed(tally: Path) -> None:
    settled = dataclasses.replace(SOON, tries=0)
    with camera("resizes", drop=False, back_off=settled) as source:
        frames, error = read_to_its_end(source)
    assert "192x144 pixels now" in str(error)
    assert all(faulty.number_of(frame.image) == frame.number for frame in frames)
    assert [frame.size for frame in frames[:20]] == [(48, 64)] * 20
    assert "wrong_size" in kinds(source)
    add_up(source.counts, tally)


def test_sizes_change_without_tearing(tally: Path) -> None:
    """An iterator is read on whatever size it gives."""
    with Camera(faulty.resizes(), drop=False) as source:
        shapes = [(frame.size, faulty.number_of(frame.image)) for frame in source]
    assert [number for _, number in shapes] == list(range(100))
    assert [size[0] // 48 for size, _ in shapes[::20]] == [1, 3, 2, 5, 1]
    assert kinds(source).count("wrong_size") == 4
    add_up(source.counts, tally)


def test_only_the_size_that_was_asked_for_is_delivered(tally: Path) -> None:
    watch = WatchSettings(size=(48, 64))
    with Camera(faulty.resizes(), drop=False, watch=watch) as source:
        assert {frame.size for frame in source} == {(48, 64)}
    assert source.counts.dropped_by == {Drop.WRONG_SIZE: 60}
    add_up(source.counts, tally)


@pytest.mark.parametrize(
    ("name", "fault"),
    [("time_traveller", "clock_jump"), ("freezes", "frozen"), ("goes_black", "black")],
)
def test_what_is_wrong_is_said_and_opened_again(tally: Path, name: str, fault: str) -> None:
    with camera(name) as source:
        frames = collect(source, 60, work_s=0.01)
        assert until(lambda: kinds(source).count("connected") == 2)
        frames += collect(source, 5)
    assert kinds(source)[:3] == ["connected", fault, "reconnecting"]
    fresh_and_in_order(frames)
    add_up(source.counts, tally)


def test_a_source_that_never_opens_is_an_error() -> None:
    quick = dataclasses.replace(QUICK, open_s=1.0)
    started = time.monotonic()
    with camera("never_opens", watch=quick) as source, pytest.raises(SourceError, match="no frame"):
        source.take()
    assert time.monotonic() - started < 300


def test_a_source_that_raises_is_said() -> None:
    with (
        camera("raises", back_off=BackOff(tries=0), drop=False) as source,
        pytest.raises(SourceError, match="the lens fell off"),
    ):
        for _ in source:
            pass
    assert source.counts == Counts(captured=1, processed=1)


def test_old_frames_are_never_taken(tally: Path) -> None:
    with camera("steady", max_age_ms=30) as source:
        ages = []
        for frame in source:
            ages.append(frame.age_ms())
            time.sleep(0.04)
            if len(ages) == 20:
                break
    assert sorted(ages)[10] < 30 + 400  # copying the pixels is not part of the limit; nor is load
    add_up(source.counts, tally)


def test_every_and_target_fps(tally: Path) -> None:
    with camera("steady", every=3) as source:
        assert all(frame.number % 3 == 0 for frame in collect(source, 10))
    assert source.counts.dropped_by[Drop.SKIPPED] >= 18
    with camera("steady", target_fps=20) as source:
        frames = collect(source, 10)
    assert frames[-1].captured_s - frames[0].captured_s >= 9 / 20 - 0.03


def test_asyncio_runs_on_beside_it(tally: Path) -> None:
    async def main() -> tuple[list[int], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        ticking = asyncio.create_task(tick())
        numbers = []
        with camera("steady") as source:
            frames = aiter(source)
            async for frame in frames:
                numbers.append(frame.number)
                await asyncio.sleep(0.02)
                if len(numbers) == 10:
                    break
            await frames.aclose()
        ticking.cancel()
        add_up(source.counts, tally)
        return numbers, ticks

    numbers, ticks = loops.run(main())
    assert numbers == sorted(set(numbers))
    assert ticks > 5


def test_a_cancelled_wait_takes_no_frame(tally: Path) -> None:
    async def main() -> Camera:
        with camera("steady") as source:
            frames = aiter(source)
            await anext(frames)
            await frames.aclose()
            cancelled = 0
            for _ in range(500):  # on a laden machine a frame comes in between, and is had
                waiting = asyncio.create_task(source._take_beside())
                await asyncio.sleep(0.001)
                waiting.cancel()
                await asyncio.wait([waiting])
                cancelled += waiting.cancelled()
                if cancelled == 5:
                    break
            assert cancelled == 5
            await asyncio.sleep(0.5)
        return source

    add_up(loops.run(main()).counts, tally)


def test_the_callback_form(tally: Path) -> None:
    seen: list[int] = []
    with camera("steady") as source:
        counts = source.run(
            lambda frame: seen.append(frame.number), keep_going=lambda: len(seen) < 5
        )
    assert len(seen) == 5
    assert counts.processed == 5


def test_events_are_told_as_they_happen() -> None:
    told = []
    with camera("steady", on_event=lambda event: told.append(event.kind)) as source:
        collect(source, 3)
    assert told == ["connected", "ended"]


def test_closing_ends_the_process() -> None:
    source = camera("steady")
    collect(source, 2)
    pid = source.capture_pid
    source.close()
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_iterator_of_arrays(tally: Path) -> None:
    with Camera(faulty.fifty(), drop=False) as source:
        numbers = [frame.number for frame in source]
    assert numbers == list(range(50))
    add_up(source.counts, tally)


def test_an_iterator_that_raises() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield faulty.picture(0)
        raise KeyError("gone")

    with Camera(broken(), drop=False) as source, pytest.raises(SourceError, match="gone"):
        for _ in source:
            pass
