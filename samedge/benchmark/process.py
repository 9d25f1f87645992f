"""Starts the processes in which `samedge.benchmark.bench` measures, and talks to them."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

import msgspec

from samedge.benchmark import worker as bench_worker
from samedge.benchmark.messages import (
    Block,
    Close,
    Closed,
    Failed,
    Measured,
    Open,
    Opened,
    Point,
    Rate,
    Rated,
    Reply,
    Request,
    Sustain,
    Sustained,
)
from samedge.errors import InferenceError, error_named
from samedge.machine.child import ending, last_words, start_python

R = TypeVar("R", Opened, Measured, Rated, Sustained, Closed)


@dataclasses.dataclass(frozen=True)
class ChosenSubject:
    """One subject to measure.

    Attributes:
        bundle: its path; ``None`` is the embedded model.
        backend: who runs it; ``None`` lets the bundle say.
        device: where; ``None`` takes the backend's first.
        factory: ``module:function`` that opens it, for models that are no bundles. It is called
            with the bundle and the keywords ``backend``, ``device`` and ``threads`` and returns a
            context manager of a predictor, and a ``records.OpenedSubject``.
    """

    bundle: str | None = None
    backend: str | None = None
    device: str | None = None
    factory: str = bench_worker.DEFAULT_FACTORY


class WorkerProcess:
    """A fresh process for one subject; a context manager that never leaves it behind."""

    def __init__(self, choice: ChosenSubject, variables: Mapping[str, str] | None = None) -> None:
        self.choice = choice
        self._variables = dict(variables or {})
        self._process: subprocess.Popen[str] | None = None
        self._chatter: IO[str] | None = None

    def __enter__(self) -> WorkerProcess:
        self._chatter = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        try:
            self._process = start_python(
                bench_worker.__name__,
                variables=self._variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._chatter,
            )
        except BaseException:
            self._chatter.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._chatter is not None
        if error is not None:
            self._process.kill()
        self._process.communicate()  # closes its input, which ends it, and waits
        self._chatter.close()

    def open(self, *, threads: int | None, image: Path, point: Point) -> Opened:
        """Load and segment once; see ``worker.Worker.open``."""
        one = self.choice
        request = Open(
            factory=one.factory,
            bundle=one.bundle,
            backend=one.backend,
            device=one.device,
            threads=threads,
            image=str(image),
            point=point,
        )
        return self._ask(request, Opened)

    def block(
        self, image: Path, points: Sequence[Point], *, seconds: float, count: int
    ) -> Measured:
        """Measure one block; see ``worker.Worker.block``."""
        request = Block(image=str(image), points=list(points), seconds=seconds, count=count)
        return self._ask(request, Measured)

    def rate(
        self, image: Path, points: Sequence[Point], *, seconds: float, count: int
    ) -> list[float]:
        """Milliseconds of whole frames; see ``worker.Worker.rate``."""
        request = Rate(image=str(image), points=list(points), seconds=seconds, count=count)
        return self._ask(request, Rated).samples

    def sustain(
        self, image: Path, points: Sequence[Point], *, seconds: float
    ) -> list[tuple[float, float]]:
        """``(seconds since the start, milliseconds)`` of every frame of a long run."""
        request = Sustain(image=str(image), points=list(points), seconds=seconds)
        return self._ask(request, Sustained).series

    def close(self) -> Closed:
        """Release the model; the reply holds the process's peak memory."""
        return self._ask(Close(), Closed)

    def _ask(self, request: Request, expected: type[R]) -> R:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(request).decode() + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise InferenceError(self._obituary(type(request).__name__.lower()))
        reply = msgspec.json.decode(line, type=Reply)
        if isinstance(reply, Failed):
            raise error_named(reply.kind, reply.message, default=InferenceError)
        assert isinstance(reply, expected)
        return reply

    def _obituary(self, request: str) -> str:
        """What is known of a process that ended without an answer."""
        assert self._process is not None
        assert self._chatter is not None
        cause = ending(self._process.wait())
        self._chatter.seek(0)
        name = self.choice.bundle or "the embedded model"
        backend = self.choice.backend or "its default backend"
        return (
            f"The process that measures {name} on {backend} ended during {request!r} with {cause}. "
            f"Its last words: {last_words(self._chatter.read())}. Try `samedge doctor`."
        )
