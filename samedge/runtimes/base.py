"""The contract between samedge and the libraries that execute graphs.

A session knows tensors and never SAM; a backend is stateless and opens sessions. Both check their
arguments in one public method and leave an underscored method to each library (the arrangement of
Polygraphy's runners), so that every backend answers bad input with the same errors.
"""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from samedge.errors import InferenceError, SamedgeError, TensorMismatchError

_NO_MEMORY = re.compile(
    r"(?i)failed to allocate|bad.?alloc|out of memory|cannot allocate|not enough memory"
)
"""What libraries say of memory, whose exceptions have no class for it."""

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]
"""Shapes by the names of inputs."""


@dataclasses.dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of one input or output of a graph.

    Attributes:
        name: the tensor's name in the graph.
        dtype: NumPy's name of the element type, such as ``"float32"`` or ``"uint8"``.
        shape: one entry an axis; an ``int`` is fixed, a ``str`` names a dynamic axis.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}({', '.join(map(str, self.shape))})"

    def mismatch(self, array: object) -> str | None:
        """Say how ``array`` differs from this spec, or ``None`` when it fits."""
        if not isinstance(array, np.ndarray):
            return f"type {type(array).__name__}, expected a NumPy array"
        if array.dtype != np.dtype(self.dtype):
            return f"dtype {array.dtype}, expected {self.dtype}"
        fits = array.ndim == len(self.shape) and all(
            isinstance(want, str) or have == want
            for have, want in zip(array.shape, self.shape, strict=True)
        )
        return None if fits else f"shape {array.shape}, expected {self.shape}"


@dataclasses.dataclass(frozen=True, slots=True)
class Probe:
    """What a backend found when it looked for its library.

    Attributes:
        available: whether ``open`` can work here.
        version: the library's version, when it is installed.
        devices: the library's own device strings, best first.
        detail: one sentence: what was found, or what is missing.
        fix: the command that would make it available, empty when nothing is missing.
    """

    available: bool
    version: str | None = None
    devices: tuple[str, ...] = ()
    detail: str = ""
    fix: str = ""


class Session(ABC):
    """One opened graph. It owns device memory from ``open()`` until ``close()``.

    Attributes:
        inputs: specs of the tensors that ``run`` takes.
        outputs: specs of the tensors that ``run`` returns.
        device: the device that really executes the graph, in the library's own words.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    device: str

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Execute the graph once and return when the device is done.

        Args:
            feeds: one array an input; names, dtypes and shapes as in ``inputs``.

        Returns:
            One array an output, by name.

        Raises:
            TensorMismatchError: a feed is missing, unknown, or of another dtype or shape.
            InferenceError: the native library failed; its exception is the cause.
        """
        self._check(feeds)
        try:
            return self._run(feeds)
        except SamedgeError:
            raise
        except Exception as error:
            raise InferenceError(self._failure(error)) from error

    def _failure(self, error: Exception) -> str:
        if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
            return (
                f"There is not enough memory to run the graph on device {self.device!r} ({error}): "
                "end other programs, raise the limit on it, or take a smaller model or input size."
            )
        return f"{type(self).__name__} failed on device {self.device!r}: {error}"

    def _check(self, feeds: Mapping[str, Array]) -> None:
        known = {spec.name: spec for spec in self.inputs}
        problems = [f"missing input {name!r}" for name in known if name not in feeds]
        problems += [f"unknown input {name!r}" for name in feeds if name not in known]
        for name in known.keys() & feeds.keys():
            mismatch = known[name].mismatch(feeds[name])
            if mismatch:
                problems.append(f"input {name!r} has {mismatch}")
        if problems:
            expected = "; ".join(map(str, self.inputs))
            raise TensorMismatchError(f"{'; '.join(problems)}. The graph takes: {expected}.")

    @abstractmethod
    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Execute checked feeds."""

    def residency(self) -> dict[str, float]:
        """Where the library plans to execute the graph: share of the estimated cost by engine.

        Returns:
            Shares that sum to 1, by engine such as ``ne``, ``gpu``, ``cpu``; empty where the
            library does not say, as most do not.

        Raises:
            InferenceError: the library would say, and failed.
        """
        return {}

    def close(self) -> None:
        """Release the device memory. Calling it again does nothing."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class FoundDevice(str):
    """A device that a probe has just found: opening a graph on it need not look again."""

    __slots__ = ()


class Backend(ABC):
    """A library that executes graphs. Stateless; one instance a module, named ``BACKEND``.

    Attributes:
        name: the name that users type, equal to the module's without its underscore.
        formats: artifact formats that it opens, such as ``("onnx",)``.
        extras: what ``pip install 'samedge[...]'`` brings it with; empty for samedge alone.
        packages: every distribution that may carry its library, for the record of a machine; a
            literal, since it is read without importing the file.
        selftest: file in ``samedge/data/selftest`` that ``samedge doctor`` runs; empty for none.
        stand_in: name of a backend that computes the same files where this one's platform is not;
            empty for none.
        scratch_options: for ``open`` where the files live for minutes, so that nothing is kept.
        exact_options: for ``open`` where it is to compute what the file says, as a reference.
        releasing_options: for ``open`` where memory is scarce: what a run needed is given back
            after it, at a cost in time and to the same results; empty where there is no such thing.
        arithmetic: names of options that change what is computed, beyond the order of sums.
        is_for_checks: no device runs it: it checks files where their own platform is not, or
            stands in for one in tests. ``samedge doctor`` shows it with ``-v``.
        computes: whether results are the graph's, and not of the right shape only.
        survives_fork: whether the library computes on the processor in a fork of a process that
            has used it; most do not, since their threads stay behind.
        opens_together: whether two graphs open sooner in two threads than one after the other.
        takes_other_shapes: whether a graph that was opened with ``shapes`` runs with others too.
    """

    name: str
    formats: tuple[str, ...]
    extras: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    selftest: str = ""
    stand_in: str = ""
    scratch_options: Mapping[str, Any] = MappingProxyType({})
    exact_options: Mapping[str, Any] = MappingProxyType({})
    releasing_options: Mapping[str, Any] = MappingProxyType({})
    arithmetic: frozenset[str] = frozenset()
    is_for_checks: bool = False
    computes: bool = True
    takes_other_shapes = True
    survives_fork = False
    opens_together = False

    @property
    def install(self) -> str:
        """The command that brings its library."""
        return f"pip install '{self._distribution}'"

    @property
    def reinstall(self) -> str:
        """The command that mends a broken installation."""
        return f"pip install --force-reinstall '{self._distribution}'"

    @property
    def _distribution(self) -> str:
        return f"samedge[{','.join(self.extras)}]" if self.extras else "samedge"

    @abstractmethod
    def probe(self) -> Probe:
        """Look for the library and its devices. Never raises."""

    def spelled(self, device: str, probe: Probe) -> str | None:
        """A device as the library spells it; ``None`` where it is not here."""
        return next((known for known in probe.devices if device.lower() == known.lower()), None)

    @abstractmethod
    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> Session:
        """Open a graph for execution.

        Args:
            model: path of the artifact.
            device: one of ``probe().devices``; ``None`` takes the first.
            options: the library's own settings; ``threads`` (int) is understood by every backend,
                0 or absent meaning the library's default.
            shapes: sets of shapes of the dynamic inputs to prepare for, the likeliest first; a
                library that compiles for shapes compiles for these. See ``takes_other_shapes``.
            keep: outputs that other graphs of the same backend read: they may stay on the device.

        Raises:
            BackendUnavailableError: the library or the device is not here.
            InferenceError: the library cannot open the file.
        """

    def shared_options(
        self, callers: int, *, device: str, options: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Options to open a graph with where so many callers run it at the same time.

        Args:
            callers: 2 or more.
            device: the library's own string.
            options: that it would be opened with otherwise.

        Returns:
            What is to differ from ``options``; nothing where a session serves them as it is, or
            where callers take turns anyway.
        """
        del callers, device, options
        return {}

    def prepare(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
    ) -> None:
        """Do ahead of time what ``open`` would do at first: compile, where the device compiles.

        Args:
            model: path of the artifact.
            device: as of ``open``, like the others.
            options: see there.
            shapes: see there.

        Raises:
            BackendUnavailableError: the library or the device is not here.
            InferenceError: the library cannot open the file.
        """
        self.open(model, device=device, options=options, shapes=shapes).close()

    def build(self, device: str) -> tuple[str, ...]:
        """What decides its results beside the version: the library's build, the device's driver.

        Args:
            device: the library's own string.
        """
        del device
        return ()

    def compiled_files(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Path, ...]:
        """Files of the cache that ``open`` would take its compiled graphs from; none as a rule.

        Args:
            model: path of the artifact.
            device: as of ``open``.
            options: as of ``open``.
        """
        del model, device, options
        return ()

    def reads(self, model: Path) -> tuple[Path, ...]:
        """Every file that opening a graph reads, so that a bundle can refuse what it does not name.

        Args:
            model: path of the artifact.

        Raises:
            InferenceError: the graph cannot be read.
        """
        return (model,)

    def end(self) -> None:
        """Let go of what it holds beside its sessions: nothing, unless it has a process."""

    def write_example(self, folder: Path, artifact_format: str) -> Path:
        """Write the contract's tiny graph, which its tests open; see :mod:`.example`.

        Args:
            folder: an existing folder.
            artifact_format: one of ``formats``.

        Raises:
            NotImplementedError: this backend is tested with another's file of the same format.
            ImportError: what writes the format is not installed.
        """
        raise NotImplementedError(f"{self.name} writes no example in format {artifact_format!r}.")
