"""Starts a process of the local engine and talks to it."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import tempfile
import threading
import time
from types import TracebackType
from typing import IO

from samedge.annotate import child
from samedge.annotate.tasks import Job, Outcome, Ready, Refused, Reply, Task, decoded
from samedge.errors import InferenceError, error_named
from samedge.files.json_text import json_text
from samedge.machine.child import ending, last_words, start_python

CHILD = child.__name__
_POLL_S = 0.2


class DiedError(Exception):
    """A process that ended, or was stopped, without an answer.

    Attributes:
        has_opened: whether it had opened the bundle before.
    """

    def __init__(self, message: str, *, has_opened: bool) -> None:
        super().__init__(message)
        self.has_opened = has_opened


class WorkerProcess:
    """A process that annotates; a context manager that never leaves it behind.

    Args:
        job: what it is to do.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._replies: queue.Queue[Reply | None] = queue.Queue()
        self._has_opened = False
        self._process: subprocess.Popen[str] | None = None
        self._chatter: IO[str] | None = None

    def __enter__(self) -> WorkerProcess:
        self._chatter = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        try:
            self._process = start_python(
                CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._chatter
            )
        except BaseException:
            self._chatter.close()
            raise
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        self._write(json_text(self._job))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._chatter is not None
        self._process.kill()  # every part that it told of is on disk
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._chatter.close()

    def send(self, task: Task) -> None:
        """Give it a task; one that is dead takes it too, and says so when it is asked."""
        self._write(json_text(task))

    def answer(self, timeout_s: float, stop: threading.Event) -> Outcome | None:
        """Wait for the outcome of the oldest task.

        Args:
            timeout_s: longest time to wait, anew from each tile on that it tells of.
            stop: ends the waiting.

        Returns:
            ``None`` where ``stop`` was set.

        Raises:
            DiedError: the process ended, or was silent for too long.
            SamedgeError: it cannot work at all, whatever the image.
        """
        end = time.monotonic() + timeout_s
        while not stop.is_set():
            if time.monotonic() > end:
                raise self._death(f"took longer than {timeout_s:g} s and was stopped")
            try:
                reply = self._replies.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if reply is None:
                raise self._death(self._end())
            if isinstance(reply, Outcome):
                return reply
            if isinstance(reply, Refused):
                raise error_named(reply.kind, reply.message, default=InferenceError)
            self._has_opened |= isinstance(reply, Ready)
            end = time.monotonic() + timeout_s
        return None

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as stream, contextlib.suppress(ValueError):  # half of a line: it died
            for line in stream:
                self._replies.put(decoded(line, Reply))  # type: ignore[arg-type]  # a union
        self._replies.put(None)

    def _write(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _end(self) -> str:
        assert self._process is not None
        return f"ended with {ending(self._process.wait())}"

    def _death(self, what: str) -> DiedError:
        assert self._chatter is not None
        self._chatter.seek(0)
        words = last_words(self._chatter.read())
        message = f"The process that annotated the image {what}; its last words: {words}."
        return DiedError(message, has_opened=self._has_opened)
