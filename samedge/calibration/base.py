"""What a quantizer is: a file ``_name.py`` that exposes ``QUANTIZER``.

A quantizer knows files and tensors, never SAM: a float graph, a plan and feeds go in, and the
plan's graph comes out. Feeds are read once or twice, one at a time, so that they need no memory.
"""

from __future__ import annotations

import dataclasses
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from samedge import _discovery
from samedge.calibration.plan import PrecisionPlan
from samedge.errors import CalibrationError, SamedgeError
from samedge.types import Array, Precision

FeedSource = Callable[[], Iterable[Mapping[str, Array]]]
"""Gives the calibration feeds afresh: every input of the graph by name."""


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a quantizer did.

    Attributes:
        path: the file that it wrote.
        modules: modules that now compute in the plan's precision, in the graph's order.
        kept: modules that stayed in a higher precision than planned, with the reason.
    """

    path: Path
    modules: tuple[str, ...]
    kept: Mapping[str, str] = dataclasses.field(default_factory=dict)


def unchanged(source: Path, destination: Path) -> Converted:
    """What a quantizer returns for a graph of which the plan quantizes nothing."""
    if source != destination:
        shutil.copyfile(source, destination)
    return Converted(destination, ())


class Quantizer(ABC):
    """Turns a float graph into the graph of a plan. Stateless; one instance a module.

    Attributes:
        name: the file's name without its underscore.
        formats: artifact formats that it reads and writes, such as ``("onnx",)``.
        precisions: what it can bring a graph to, the usual one first.
        backends: the backends whose kernels it writes for, before others of its formats; empty
            for any.
        packages: distributions that it computes with, by the names that pip lists; a literal,
            since it is read without importing the file.
        note: what the manifest and the export's table say about its files; empty for nothing.
    """

    name: str
    formats: tuple[str, ...]
    precisions: tuple[Precision, ...]
    backends: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    note: str = ""

    def quantize(
        self, source: Path, destination: Path, *, plan: PrecisionPlan, feeds: FeedSource
    ) -> Converted:
        """Write the plan's graph.

        Args:
            source: a float graph.
            destination: the file to write, another than ``source``.
            plan: precisions by module.
            feeds: calibration feeds of this graph.

        Raises:
            CalibrationError: the plan or the feeds do not fit the graph, or the library failed.
        """
        try:
            return self._quantize(source, destination, plan=plan, feeds=feeds)
        except SamedgeError:
            raise
        except Exception as error:
            raise CalibrationError(
                f"Quantizer {self.name!r} failed on {source.name}: {error}"
            ) from error

    @abstractmethod
    def modules(self, source: Path) -> tuple[str, ...]:
        """Modules of a float graph that a plan may speak of, in the graph's order.

        Args:
            source: a float graph.
        """

    @abstractmethod
    def _quantize(
        self, source: Path, destination: Path, *, plan: PrecisionPlan, feeds: FeedSource
    ) -> Converted:
        """Do the work; any exception becomes a ``CalibrationError``."""


def names() -> tuple[str, ...]:
    """Names of all quantizers."""
    return _discovery.names("samedge.calibration")


def get(name: str) -> Quantizer:
    """The quantizer called ``name``.

    Raises:
        UnknownNameError: there is none; the message lists the known names.
    """
    quantizer: Quantizer = _discovery.load("samedge.calibration", name, attribute="QUANTIZER")
    return quantizer


def suited(artifact_format: str, *, backend: str, precision: Precision) -> Quantizer | None:
    """The quantizer for files of a format that a backend will run; ``None`` if there is none.

    Args:
        artifact_format: such as ``"onnx"``.
        backend: its name; a quantizer that writes for it goes before one that writes for any.
        precision: what the graph is to compute in.
    """
    fitting = [
        quantizer
        for quantizer in map(get, names())
        if artifact_format in quantizer.formats
        and precision in quantizer.precisions
        and (not quantizer.backends or backend in quantizer.backends)
    ]
    return max(fitting, key=lambda quantizer: bool(quantizer.backends), default=None)
