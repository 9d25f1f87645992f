"""A backend whose graphs run in a process of its own: a crash or a hang is an error, or no matter.

Everything of the library happens there, looking for it included. A process that crashed is started
again and asked once more; one that hangs is ended at the time limit, and the next call has a new
one. The graphs are opened again as they are needed.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from samedge.errors import InferenceError, SamedgeError
from samedge.runtimes.base import Array, Backend, Probe, Session, Shapes
from samedge.runtimes.deadline import OPEN_TIMEOUT_S, TIMEOUT_S, check_time, remaining_s
from samedge.runtimes.isolated.messages import (
    Answer,
    Asked,
    Build,
    Close,
    Found,
    Look,
    Opened,
    Opening,
    Order,
    Run,
    Words,
    heads,
)
from samedge.runtimes.isolated.process import CrashedError, Process, TimedOutError
from samedge.runtimes.sharing import never_released, tell_of_forks

logger = logging.getLogger(__name__)

T = TypeVar("T")


class IsolatedBackend(Backend):
    """Another backend, in a process that it starts when it is needed and restarts when it must.

    Args:
        inner: the backend.
        timeout_s: for one run of a graph.
        open_timeout_s: for looking for the library, opening and compiling a graph.

    Attributes:
        restarts: how often the process was lost so far.
    """

    survives_fork = True  # its process is another one

    def __init__(
        self,
        inner: Backend,
        *,
        timeout_s: float = TIMEOUT_S,
        open_timeout_s: float = OPEN_TIMEOUT_S,
    ) -> None:
        self.name, self.formats, self.extras = inner.name, inner.formats, inner.extras
        self.packages, self.computes = inner.packages, inner.computes
        self.takes_other_shapes, self.arithmetic = inner.takes_other_shapes, inner.arithmetic
        self.restarts = 0
        self._inner, self._timeout_s, self._open_timeout_s = inner, timeout_s, open_timeout_s
        self._process: Process | None = None
        self._lock = threading.RLock()
        tell_of_forks(self)

    @property
    def pid(self) -> int | None:
        """The system's number of the process that runs now."""
        return None if self._process is None else self._process.pid

    def probe(self) -> Probe:
        """As of ``Backend.probe``; a library that crashes when it is looked for is not here."""
        try:
            found = self._about(Look())
        except InferenceError as error:
            return Probe(available=False, detail=str(error), fix=self._inner.reinstall)
        assert isinstance(found, Found)
        return found.probe

    def spelled(self, device: str, probe: Probe) -> str | None:
        """As of ``Backend.spelled``."""
        return self._inner.spelled(device, probe)

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> IsolatedSession:
        """As of ``Backend.open``; ``keep`` has no effect, since results come back here."""
        del keep
        return IsolatedSession(self, _opening("open", model, device, options, shapes))

    def prepare(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
    ) -> None:
        """As of ``Backend.prepare``."""
        self._about(_opening("prepare", model, device, options, shapes))

    def build(self, device: str) -> tuple[str, ...]:
        """As of ``Backend.build``."""
        return self._words(Build(str(device)))

    def compiled_files(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Path, ...]:
        """As of ``Backend.compiled_files``."""
        return tuple(map(Path, self._words(_opening("files", model, device, options, ()))))

    def reads(self, model: Path) -> tuple[Path, ...]:
        """As of ``Backend.reads``."""
        return tuple(map(Path, self._words(_opening("reads", model, None, None, ()))))

    def end(self) -> None:
        """End the process. A later call starts another."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                process.end()

    def opened(self, order: Opening) -> tuple[Process, Opened]:
        """Open a graph in the process that runs now."""
        with self._turn():
            answer = self._about(order)
            assert isinstance(answer, Opened)
            assert self._process is not None
            return self._process, answer

    def run(self, session: IsolatedSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a graph, and once more on a new process where the first one crashes."""
        with self._turn():
            return self._twice(lambda: self._run(session, feeds))

    def _run(self, session: IsolatedSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
        number = session.number_in(self._running())
        check_time("the graph runs")
        limit_s = min(self._timeout_s, remaining_s())
        return self._asked(Run(number, heads(feeds)), feeds, limit_s)[1]

    def close_session(self, process: Process, number: int) -> None:
        """Close a graph, where the process that it is open in still runs."""
        with self._lock:
            if process is self._process:
                with contextlib.suppress(CrashedError, TimedOutError):  # then it is closed, too
                    self._asked(Close(number), {}, self._open_timeout_s)

    def _about(self, order: Order) -> Answer:
        """Ask what is no run of a graph."""
        with self._turn():
            return self._twice(lambda: self._limited(order))

    def _limited(self, order: Order) -> Answer:
        check_time("the graph is opened")
        return self._asked(order, {}, min(self._open_timeout_s, remaining_s()))[0]

    def _twice(self, work: Callable[[], T]) -> T:
        """Do something, and once more where the process crashed; it may have done so before."""
        try:
            return work()
        except CrashedError as error:
            logger.warning("%s It is tried again on a new process.", error)
        return work()

    def _asked(
        self, order: Order, arrays: Mapping[str, Array], limit_s: float
    ) -> tuple[Answer, dict[str, Array]]:
        """Ask the process that runs; one that did not answer is lost.

        That is one that crashes or hangs, and one whose caller was interrupted: its answer would
        come with the next call, and be taken for that one's.
        """
        process = self._running()
        try:
            return process.ask(order, arrays, limit_s=limit_s)
        except BaseException as error:
            lost = isinstance(error, CrashedError | TimedOutError)
            if lost or not isinstance(error, SamedgeError):
                self.restarts += 1
                process.kill()
                self.end()
            raise

    def _words(self, order: Order) -> tuple[str, ...]:
        answer = self._about(order)
        assert isinstance(answer, Words)
        return tuple(answer.words)

    def _running(self) -> Process:
        if self._process is None:
            self._process = Process(self.name)
        return self._process

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """The lock, waited for no longer than the call may take."""
        if not self._lock.acquire(timeout=min(remaining_s(), threading.TIMEOUT_MAX)):
            raise InferenceError(
                "The time limit of the call is up while others run: use a PredictorPool, or give "
                "it more time."
            )
        try:
            yield
        finally:
            self._lock.release()

    def after_fork(self) -> None:
        """In a fork, the process is the parent's; the child starts one of its own."""
        if self._process is not None:
            self._process.forget()
        never_released(self._process)
        self._process, self._lock = None, threading.RLock()


class IsolatedSession(Session):
    """A graph that is open in another process, or will be again.

    Args:
        backend: whose process runs it.
        order: how it is opened.
    """

    def __init__(self, backend: IsolatedBackend, order: Opening) -> None:
        self._backend, self._order, self._is_closed = backend, order, False
        self._process, opened = backend.opened(order)
        self._number, self._residency = opened.session, opened.residency
        self.inputs, self.outputs = tuple(opened.inputs), tuple(opened.outputs)
        self.device = opened.device

    def number_in(self, process: Process) -> int:
        """Its number in a process; opens it there where it is another one than before."""
        if self._is_closed:
            raise InferenceError("The session is closed: open the graph again.")
        if process is not self._process:
            self._process, opened = self._backend.opened(self._order)
            self._number = opened.session
        return self._number

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._backend.run(self, feeds)

    def residency(self) -> dict[str, float]:
        """As of ``Session.residency``."""
        return dict(self._residency)

    def close(self) -> None:
        """Close it there. Calling it again does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._backend.close_session(self._process, self._number)


def _opening(
    what: Asked,
    model: Path,
    device: str | None,
    options: Mapping[str, Any] | None,
    shapes: Sequence[Shapes],
) -> Opening:
    if not _is_utf8(str(model)):
        raise InferenceError(
            f"{str(model)!r} is no UTF-8, and cannot be told to another process: rename it."
        )
    return Opening(
        what=what,
        model=str(model),
        device=None if device is None else str(device),
        options=dict(options or {}),
        shapes=[dict(one) for one in shapes],
    )


def _is_utf8(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False
