"""Calls that run several at a time and answer in their order, with a queue that has an end."""

from __future__ import annotations

import contextvars
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from samedge.errors import DatasetError, ImageError, InferenceError, PromptError

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

OF_ONE_IMAGE = (ImageError, PromptError, DatasetError, InferenceError, OSError, MemoryError)
"""Errors that end nothing but the image they are about, where there are several."""

_MOST = 8
"""Frames at a time unless more are asked for: each takes memory for itself."""


def usual_workers() -> int:
    """How many frames are computed at a time where nobody says: one a processor, 8 at most."""
    from samedge.machine.environment import usable_cores

    return min(usable_cores() or 1, _MOST)


def in_order(
    calls: Iterable[Callable[[], T]], *, workers: int, ahead: int
) -> Generator[T, None, None]:
    """Run calls in threads and give their results in the order of the calls.

    The iterable is advanced in the caller's own thread, when there is room. Each call sees the
    caller's context, such as its time limit. When the generator ends, is closed, or raises, calls
    that have not begun are dropped, those that run are waited for, and no thread is left.

    Args:
        calls: what to run; may have no end.
        workers: threads; with 1, calls run one after the other in the caller's own.
        ahead: calls that are begun, waiting or done before the oldest result is taken, at most;
            what memory they need is the limit of this.

    Yields:
        One result a call.

    Raises:
        InferenceError: a fork of the process that began it goes on with it.
        Exception: what a call or the iterable raises, at its turn.
    """
    if workers == 1:
        for call in calls:
            yield call()
        return
    from concurrent.futures import ThreadPoolExecutor  # most who predict never need it

    waiting: deque[Future[T]] = deque()
    source, owner = _Source(calls), os.getpid()
    threads = ThreadPoolExecutor(workers, thread_name_prefix="samedge-frames")
    try:
        for call in source:
            waiting.append(threads.submit(contextvars.copy_context().run, call))
            while waiting and (len(waiting) >= ahead or waiting[0].done()):
                yield waiting.popleft().result()
                _check_process(owner)
        while waiting:
            yield waiting.popleft().result()
            _check_process(owner)
        source.check()
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


class _Source(Generic[T]):
    """An iterable that ends where it raises, so that what came before is answered first."""

    def __init__(self, calls: Iterable[T]) -> None:
        self._calls = iter(calls)
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[T]:
        try:
            yield from self._calls
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised in its turn
            self._error = error

    def check(self) -> None:
        """Raise what it ended with."""
        if self._error is not None:
            raise self._error


def _check_process(owner: int) -> None:
    """Refuse to wait in a fork, which has none of the threads.

    Raises:
        InferenceError: this is another process.
    """
    if os.getpid() != owner:
        raise InferenceError(
            f"Process {owner} began with these frames, and its threads are not in its fork "
            f"{os.getpid()}: map the frames there anew."
        )
