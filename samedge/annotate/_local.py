"""The engine of one machine: processes, each with a bundle of its own."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from samedge.annotate.engines import Engine, EngineOptions
from samedge.annotate.parts import Parts
from samedge.annotate.process import DiedError, WorkerProcess
from samedge.annotate.tasks import Job, Outcome, Part, Task, file_state
from samedge.annotate.worker import part_error
from samedge.errors import InferenceError

_AHEAD = 3  # tasks that a process holds: one at the model, one decoded, one being decoded
_STARTS = 3  # processes one after the other that died before their first answer: one too many


class _Shared:
    """What the threads of a run share: tasks to do, and what became of them."""

    def __init__(self, tasks: Sequence[Task], job: Job) -> None:
        self.job = job
        self.answers: queue.Queue[Outcome | Exception | None] = queue.Queue()
        self.stop = threading.Event()
        self._tasks = deque(tasks)
        self._lock = threading.Lock()

    def next(self) -> Task | None:
        """A task that nobody has taken."""
        with self._lock:
            return self._tasks.popleft() if self._tasks and not self.stop.is_set() else None


class _Keeper:
    """Keeps one process busy, and starts another when it dies.

    A process holds several tasks. When it dies, they are given to the next one by one, so that
    the one that kills is known; it is listed as failed and never tried again.
    """

    def __init__(self, shared: _Shared, options: EngineOptions) -> None:
        self._shared, self._options = shared, options
        self._again: deque[Task] = deque()  # to be tried alone
        self._held: deque[Task] = deque()
        self._early_deaths = 0

    def run(self) -> None:
        """Work until there are no tasks; what went wrong goes to ``answers``."""
        try:
            while self._has_more():
                self._one_process()
        except Exception as error:  # noqa: BLE001 - raised again by whoever listens
            self._shared.stop.set()
            self._shared.answers.put(error)
        finally:
            self._shared.answers.put(None)

    def _has_more(self) -> bool:
        if not self._again and not self._held and (task := self._shared.next()):
            self._held.append(task)
        return bool(self._again or self._held) and not self._shared.stop.is_set()

    def _one_process(self) -> None:
        with WorkerProcess(self._shared.job) as process:
            for task in self._held:
                process.send(task)
            try:
                while self._fill(process):
                    outcome = process.answer(self._options.image_s, self._shared.stop)
                    if outcome is None:
                        return
                    self._held.popleft()
                    self._shared.answers.put(outcome)
            except DiedError as death:
                self._bury(death)

    def _fill(self, process: WorkerProcess) -> bool:
        """Give the process more to do; whether it holds anything."""
        if self._again:
            if not self._held:
                self._held.append(self._again.popleft())
                process.send(self._held[0])
            return True
        while len(self._held) < _AHEAD and (task := self._shared.next()) is not None:
            self._held.append(task)
            process.send(task)
        return bool(self._held)

    def _bury(self, death: DiedError) -> None:
        if not death.has_opened:
            self._early_deaths += 1
            if self._early_deaths >= _STARTS:
                raise InferenceError(f"No worker can be started. {death}") from death
            return
        self._early_deaths = 0
        if len(self._held) > 1:
            self._again.extend(self._held)
            self._held.clear()
            return
        task = self._held.popleft()
        self._shared.answers.put(self._failed(task, str(death)))

    def _failed(self, task: Task, message: str) -> Outcome:
        what_to_do = "Give a smaller image, or more time with --image-seconds."
        error = part_error(InferenceError(f"{message} {what_to_do}"))
        file_bytes, modified_ns = file_state(Path(task.path))
        part = Part(name=task.name, file_bytes=file_bytes, modified_ns=modified_ns, error=error)
        Parts(Path(self._shared.job.parts)).write(part)
        return Outcome(name=task.name, masks=0, seconds=0.0, error=error)


class _Local(Engine):
    def run(
        self,
        tasks: Sequence[Task],
        job: Job,
        *,
        options: EngineOptions,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        shared = _Shared(tasks, job)
        keepers = [_Keeper(shared, options) for _ in range(min(options.workers, len(tasks)))]
        threads = [threading.Thread(target=keeper.run) for keeper in keepers]
        for thread in threads:
            thread.start()
        try:
            _listen(shared, on_outcome, workers=len(threads))
        finally:
            shared.stop.set()
            for thread in threads:
                thread.join()


def _listen(shared: _Shared, on_outcome: Callable[[Outcome], None], *, workers: int) -> None:
    """Pass on what the threads say until all have ended.

    Raises:
        Exception: the first that ended one.
    """
    ended = 0
    while ended < workers:
        answer = shared.answers.get()
        if answer is None:
            ended += 1
        elif isinstance(answer, Outcome):
            on_outcome(answer)
        else:
            raise answer


ENGINE = _Local()
