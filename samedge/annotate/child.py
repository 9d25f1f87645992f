"""The process of the local engine: tasks in by lines, outcomes out by lines, images read ahead."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from typing import IO

from samedge.annotate.tasks import Job, Ready, Refused, Reply, Task, Working, decoded
from samedge.annotate.worker import AutoWorker, Loaded, load
from samedge.errors import SamedgeError
from samedge.files.json_text import json_text

_AHEAD = 1  # images decoded and waiting; one more is being decoded


def main() -> None:
    """Annotate what comes in until the input ends.

    The first line is the :class:`~samedge.annotate.tasks.Job`, every other a task. Standard output
    carries a :data:`~samedge.annotate.tasks.Reply` a line and nothing else: ready, then an outcome
    a task in their order, or why there can be none; between them a word of each tile that is done.
    What libraries print goes to standard error.
    """
    answers = _answers()
    job = decoded(sys.stdin.readline(), Job)
    try:
        _work(job, answers)
    except SamedgeError as error:
        _say(answers, Refused(kind=type(error).__name__, message=str(error)))


def _work(job: Job, answers: IO[str]) -> None:
    waiting: queue.Queue[Loaded | None] = queue.Queue(_AHEAD)
    with AutoWorker(job) as worker:
        _say(answers, Ready())
        threading.Thread(target=_read, args=(job, waiting), daemon=True).start()
        while (loaded := waiting.get()) is not None:
            _say(answers, worker.annotate(loaded, on_tile=lambda: _say(answers, Working())))


def _read(job: Job, waiting: queue.Queue[Loaded | None]) -> None:
    try:
        for line in sys.stdin:
            waiting.put(load(decoded(line, Task), job.settings))
    finally:
        waiting.put(None)


def _answers() -> IO[str]:
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "w", encoding="utf-8")


def _say(answers: IO[str], reply: Reply) -> None:
    answers.write(json_text(reply) + "\n")
    answers.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):  # the parent says what happened
        main()
