"""Starts the processes in which `samedge.benchmark.bench` measures, and talks to them."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from samedge import errors
from samedge.benchmark import worker as bench_worker
from samedge.errors import InferenceError, SamedgeError
from samedge.machine.child import start_python

_LAST_LINES = 5


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One subject to measure.

    Attributes:
        bundle: its path; ``None`` is the embedded model.
        backend: who runs it; ``None`` lets the bundle say.
        device: where; ``None`` takes the backend's first.
        factory: ``module:function`` that opens it, for models that are no bundles. It is called
            with the bundle and the keywords ``backend``, ``device`` and ``threads`` and returns a
            context manager of a predictor, and the fields of ``records.Subject`` as a dictionary.
    """

    bundle: str | None = None
    backend: str | None = None
    device: str | None = None
    factory: str = bench_worker.DEFAULT_FACTORY


class WorkerProcess:
    """A fresh process for one contestant; a context manager that never leaves it behind."""

    def __init__(self, contestant: Contestant, variables: Mapping[str, str] | None = None) -> None:
        self.contestant = contestant
        self._variables = dict(variables or {})
        self._process: subprocess.Popen[str] | None = None
        self._chatter: IO[str] | None = None

    def __enter__(self) -> WorkerProcess:
        self._chatter = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = start_python(
            bench_worker.__name__,
            variables=self._variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._chatter,
        )
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

    def open(self, *, threads: int | None, image: Path, point: Sequence[float]) -> dict[str, Any]:
        """Load and segment once; see ``bench_worker.Worker.open``."""
        settings = dataclasses.asdict(self.contestant)
        return self._ask(do="open", threads=threads, image=str(image), point=point, **settings)

    def block(
        self, image: Path, points: Sequence[Sequence[float]], *, seconds: float, count: int
    ) -> dict[str, Any]:
        """Measure one block; see ``bench_worker.Worker.block``."""
        return self._ask(do="block", image=str(image), points=points, seconds=seconds, count=count)

    def rate(
        self, image: Path, points: Sequence[Sequence[float]], *, seconds: float, count: int
    ) -> list[float]:
        """Milliseconds of whole frames; see ``bench_worker.Worker.rate``."""
        reply = self._ask(do="rate", image=str(image), points=points, seconds=seconds, count=count)
        samples: list[float] = reply["samples"]
        return samples

    def sustain(
        self, image: Path, points: Sequence[Sequence[float]], *, seconds: float
    ) -> list[tuple[float, float]]:
        """``(seconds since the start, milliseconds)`` of every frame of a long run."""
        reply = self._ask(do="sustain", image=str(image), points=points, seconds=seconds)
        return [(at, value) for at, value in reply["series"]]

    def close(self) -> dict[str, Any]:
        """Release the model; the reply holds the process's peak memory."""
        return self._ask(do="close")

    def _ask(self, **request: Any) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise InferenceError(self._obituary(request["do"]))
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise _error(reply["type"], reply["error"])
        return reply

    def _obituary(self, request: str) -> str:
        """What is known of a process that ended without an answer."""
        assert self._process is not None
        assert self._chatter is not None
        code = self._process.wait()
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._chatter.seek(0)
        lines = self._chatter.read().strip().splitlines()[-_LAST_LINES:]
        name = self.contestant.bundle or "the embedded model"
        backend = self.contestant.backend or "its default backend"
        return (
            f"The process that measures {name} on {backend} ended during {request!r} with {cause}. "
            f"Its last words: {' | '.join(lines) or 'none'}. Try `samedge doctor`."
        )


def _error(kind: str, message: str) -> SamedgeError:
    """The child's error again, as the same class where a message is all that it takes."""
    plain = (
        errors.BackendUnavailableError,
        errors.BundleError,
        errors.IncompatibleArtifactError,
        errors.ImageError,
        errors.PromptError,
    )
    classes: dict[str, type[SamedgeError]] = {cls.__name__: cls for cls in plain}
    return classes.get(kind, InferenceError)(message)
