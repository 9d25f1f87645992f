"""One thread that owns the model, and a bounded queue of what it is asked.

Clicks are urgent and everything mode is patient: a patient job lets the urgent ones that wait run
between its own batches, so that a click never waits for the whole of another's everything mode.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from samedge.web.server.failures import BusyError, StoppingError, TimedOutError

T = TypeVar("T")

PATIENCE_S = 2.0
"""A patient job that waited so long goes before urgent ones."""


class CancelledWorkError(Exception):
    """Nobody waits for a job any more."""


class Job(Generic[T]):
    """Work for the model's thread.

    Attributes:
        future: its result.
        is_urgent: whether it may run in between a patient one's batches.
        deadline: on ``time.monotonic``; later it is not worth starting.
        since: when it was asked for.
    """

    def __init__(
        self, work: Callable[[Job[T]], T], *, worker: Worker, is_urgent: bool, seconds: float
    ) -> None:
        self._work, self._worker = work, worker
        self._is_cancelled = threading.Event()
        self.future: Future[T] = Future()
        self.is_urgent = is_urgent
        self.since = time.monotonic()
        self.deadline = self.since + seconds

    def cancel(self) -> None:
        """Take it from the queue, or end it at its next :meth:`breathe`."""
        self._is_cancelled.set()
        self.future.cancel()

    def breathe(self) -> None:
        """Let urgent jobs run; a patient job calls it between its batches.

        Raises:
            CancelledWorkError: nobody waits for this job any more.
            TimedOutError: its time is over.
        """
        self.check()
        if not self.is_urgent:
            self._worker.run_urgent()
            self.check()

    def check(self) -> None:
        """Raise where going on is of no use; the errors are those of :meth:`breathe`."""
        if self._is_cancelled.is_set():
            raise CancelledWorkError
        if time.monotonic() > self.deadline:
            raise TimedOutError(
                f"The work was not done after {self.deadline - self.since:.0f} s: ask for less, or "
                "raise the server's limit."
            )

    def run(self) -> None:
        """Do the work in this thread and set the future."""
        if self._is_cancelled.is_set() or not self.future.set_running_or_notify_cancel():
            return
        try:
            self.check()
            result = self._work(self)
        except BaseException as error:  # noqa: BLE001 - it belongs to who waits for the future
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Worker:
    """Runs jobs one at a time, in their order.

    Args:
        limit: jobs that may wait.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._urgent: deque[Job[object]] = deque()
        self._patient: deque[Job[object]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._busy = False
        self._thread = threading.Thread(target=self._loop, name="samedge-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return len(self._urgent) + len(self._patient)

    @property
    def is_busy(self) -> bool:
        """Whether a job runs."""
        return self._busy

    def check_room(self) -> None:
        """Refuse before a caller sends what could not be worked on.

        Raises:
            BusyError: the queue is full.
            StoppingError: the worker is stopping.
        """
        if self._stopping:
            raise StoppingError("The server is stopping: ask again in a moment, or another one.")
        if self.waiting >= self._limit:
            raise BusyError(
                f"{self._limit} requests wait for the model, which is as many as may: ask again in "
                "a second, or start the server with a longer --queue."
            )

    def submit(
        self, work: Callable[[Job[T]], T], *, seconds: float, patient: bool = False
    ) -> Job[T]:
        """Put work into the queue.

        Args:
            work: called in the model's thread with its own job.
            seconds: until it has to be done.
            patient: whether urgent work may go before and in between.

        Raises:
            BusyError, StoppingError: as :meth:`check_room`.
        """
        job = Job(work, worker=self, is_urgent=not patient, seconds=seconds)
        with self._changed:
            self.check_room()
            line = self._patient if patient else self._urgent
            line.append(job)  # type: ignore[arg-type]  # results of all kinds in one line
            self._changed.notify()
        return job

    def run_urgent(self) -> None:
        """Run the urgent jobs that wait now; for a patient job, in the model's thread."""
        for _ in range(len(self._urgent)):
            with self._changed:
                job = self._urgent.popleft() if self._urgent else None
            if job is None:
                return
            job.run()

    def close(self, *, seconds: float) -> None:
        """Finish the job that runs, and drop those that wait.

        Args:
            seconds: to wait for the job that runs.
        """
        with self._changed:
            self._stopping = True
            dropped = [*self._urgent, *self._patient]
            self._urgent.clear()
            self._patient.clear()
            self._changed.notify_all()
        for job in dropped:
            job.cancel()
        self._thread.join(seconds)

    def _loop(self) -> None:
        while True:
            job = self._next()
            if job is None:
                return
            self._busy = True
            job.run()
            self._busy = False
            del job  # its future holds the result, which may be large

    def _next(self) -> Job[object] | None:
        with self._changed:
            while not (self._urgent or self._patient):
                if self._stopping:
                    return None
                self._changed.wait()
            patient = self._patient[0] if self._patient else None
            is_due = patient is not None and time.monotonic() - patient.since > PATIENCE_S
            return self._patient.popleft() if is_due or not self._urgent else self._urgent.popleft()
