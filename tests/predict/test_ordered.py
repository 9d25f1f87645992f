"""Calls in threads: their order, their number, their ends."""

from __future__ import annotations

import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from samedge.errors import InferenceError
from samedge.predict.ordered import in_order
from samedge.runtimes.deadline import check_time, time_limit


def threads_left() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("samedge-frames")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not threads_left()


def squares(count: int) -> Iterator[Callable[[], int]]:
    for index in range(count):
        yield functools.partial(pow, index, 2)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_order_is_that_of_the_calls(workers: int) -> None:
    def late(index: int) -> int:
        time.sleep(0.004 * (index % 3 == 0))
        return index

    calls = (functools.partial(late, index) for index in range(12))
    assert list(in_order(calls, workers=workers, ahead=2 * workers)) == list(range(12))


def test_calls_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3)
    assert len(list(in_order([meeting.wait] * 3, workers=3, ahead=3))) == 3


def test_no_more_calls_are_made_than_there_is_room_for() -> None:
    made, taken = 0, 0
    most = 0

    def endless() -> Iterator[Callable[[], None]]:
        nonlocal made, most
        while True:
            made += 1
            most = max(most, made - taken)
            yield lambda: None

    results = in_order(endless(), workers=2, ahead=4)
    for _ in itertools.islice(results, 50):
        taken += 1
        time.sleep(0.0005)
    assert most <= 4 + 1  # one result is with the caller
    results.close()
    assert not threads_left()


def test_a_result_is_given_as_soon_as_it_is_there() -> None:
    done = threading.Event()

    def calls() -> Iterator[Callable[[], object]]:
        yield done.set
        assert done.wait(5)
        time.sleep(0.05)
        yield lambda: "second"
        pytest.fail("the first result was kept back")  # room for it is no reason to wait for more

    results = in_order(calls(), workers=2, ahead=10)
    assert next(results) is None
    results.close()


def test_closing_drops_what_has_not_begun() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def call(index: int) -> int:
        begun.append(index)
        if index:
            gate.wait(5)
        return index

    results = in_order((functools.partial(call, i) for i in range(9)), workers=2, ahead=8)
    next(results)
    gate.set()
    results.close()
    assert len(begun) < 9
    assert not threads_left()


@pytest.mark.parametrize("error", [ValueError("seven"), KeyboardInterrupt()])
def test_an_error_comes_at_its_turn(error: BaseException) -> None:
    def call(index: int) -> int:
        if index == 3:
            raise error
        return index

    taken = []
    with pytest.raises(type(error)):  # noqa: PT012 - what came before it counts
        for result in in_order((functools.partial(call, i) for i in range(9)), workers=2, ahead=4):
            taken.append(result)
    assert taken == [0, 1, 2]
    assert not threads_left()


def test_what_came_before_the_end_of_a_failing_iterator_is_answered() -> None:
    def calls() -> Iterator[Callable[[], int]]:
        yield from squares(3)
        raise OSError("the camera is gone")

    taken = []
    with pytest.raises(OSError, match="camera"):  # noqa: PT012
        for result in in_order(calls(), workers=2, ahead=8):
            taken.append(result)
    assert taken == [0, 1, 4]


def test_calls_see_the_time_limit_of_their_caller() -> None:
    with time_limit(0.01):
        time.sleep(0.02)
        with pytest.raises(InferenceError, match="time limit"):
            list(in_order([functools.partial(check_time, "it")] * 2, workers=2, ahead=2))


def test_a_fork_is_told_that_it_has_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    results = in_order(squares(9), workers=2, ahead=4)
    next(results)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(InferenceError, match="fork"):
            next(results)
