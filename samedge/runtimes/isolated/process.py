"""One process that runs graphs: started, asked, given a time, and taken leave of."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping

import msgspec

from samedge.errors import InferenceError, error_named
from samedge.machine.child import ending, last_words, python_command, python_environment
from samedge.runtimes.base import Array
from samedge.runtimes.isolated import messages, worker
from samedge.runtimes.isolated.messages import Answer, Failed, Order, Ran

_END_S = 10.0


class CrashedError(InferenceError):
    """The process ended without an answer."""


class TimedOutError(InferenceError):
    """The process did not answer in time and was ended."""


class Process:
    """A running process; :meth:`end` must be called.

    Args:
        backend: name of the one that runs the graphs.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._chatter = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed by `end`
        self._child = subprocess.Popen(
            python_command(worker.__name__, [backend]),
            env=python_environment(),
            start_new_session=True,  # Ctrl-C in a terminal is for the caller, who ends this one
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._chatter,
        )

    @property
    def pid(self) -> int:
        """The system's number of the process."""
        return self._child.pid

    def ask(
        self, order: Order, arrays: Mapping[str, Array], *, limit_s: float
    ) -> tuple[Answer, dict[str, Array]]:
        """Send an order and wait for its answer.

        Args:
            order: what to do.
            arrays: what goes along.
            limit_s: the process is killed when it has not answered by then.

        Raises:
            CrashedError: it ended before it had answered.
            TimedOutError: it took too long.
            SamedgeError: its own error, as the same class.
        """
        with self._killed_after(limit_s) as late:
            found = self._exchanged(order, arrays)
        if found is None:
            what = type(order).__name__.lower()
            if late.is_set():
                raise TimedOutError(
                    f"{self.backend} did not answer {what!r} within {limit_s:.3g} s and was ended; "
                    "it is started again with the next call. Give it more time (timeout_s), or see "
                    "what `samedge doctor` says of it."
                )
            raise CrashedError(self._obituary(what))
        answer, results = found
        if isinstance(answer, Failed):
            raise error_named(answer.kind, answer.message, default=InferenceError)
        return answer, results

    def _exchanged(
        self, order: Order, arrays: Mapping[str, Array]
    ) -> tuple[Answer, dict[str, Array]] | None:
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            messages.send(stdin, order, arrays=arrays)
            head = messages.received(stdout)
        except OSError:
            return None
        if head is None:
            return None
        answer: Answer = msgspec.msgpack.decode(head, type=Answer)
        tensors = answer.tensors if isinstance(answer, Ran) else []
        results = messages.received_arrays(stdout, tensors)
        return None if results is None else (answer, results)

    @contextlib.contextmanager
    def _killed_after(self, limit_s: float) -> Iterator[threading.Event]:
        """Kill the process at the limit, which also ends the wait for its answer."""
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._child.kill()

        timer = threading.Timer(min(limit_s, threading.TIMEOUT_MAX), kill)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def _obituary(self, what: str) -> str:
        """What is known of a process that ended without an answer."""
        cause = ending(self._child.wait())
        self._chatter.seek(0)
        words = last_words(self._chatter.read().decode("utf-8", "replace"))
        return (
            f"The process of {self.backend} ended during {what!r} with {cause}. Its last words: "
            f"{words}. Try `samedge doctor`, or another backend."
        )

    def kill(self) -> None:
        """End it at once, whatever it is doing; :meth:`end` is still to be called."""
        self._child.kill()

    def forget(self) -> None:
        """In a fork: hold none of the parent's pipes open, which would keep the process waiting.

        Their numbers stay taken, so that the objects of the parent may be released in any order.
        """
        nothing = os.open(os.devnull, os.O_RDWR)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None and not pipe.closed:
                os.dup2(nothing, pipe.fileno(), inheritable=False)
        os.close(nothing)

    def end(self) -> None:
        """Let it end, or end it. Calling it again does nothing."""
        with contextlib.suppress(OSError):
            assert self._child.stdin is not None
            self._child.stdin.close()  # no more orders
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()
        self._chatter.close()
