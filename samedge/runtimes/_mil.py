"""Core ML packages without a Mac: reads a saved ``.mlpackage`` and runs it with torch on the CPU.

It executes what the file says, not what the exporter meant: program, weights (compressed ones
included) and declared types come from the package alone. With ``rounding="fp16"``, the default,
each result that the program declares as fp16 is rounded to fp16; with ``"none"`` it is not.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samedge.errors import BundleError, InferenceError, SamedgeError
from samedge.runtimes.base import Array, Backend, Probe, Session, Shapes
from samedge.runtimes.mil import proto
from samedge.runtimes.mil.example import write_coreml_example
from samedge.runtimes.mil.package import Package, files_inside, read_package
from samedge.runtimes.options import checked_choice, checked_device, checked_options
from samedge.runtimes.torch_threads import torch_threads

if TYPE_CHECKING:
    from torch import Tensor

    from samedge.runtimes.mil.overflow import OverflowRisk

ROUNDINGS = {"fp16": True, "none": False}


def image_chw_from_hwc(image: Array, *, color_space: str) -> Array:
    """(1, S, S, C) uint8 RGB -> (1, C, S, S) float32 in the channel order that Core ML hands over.

    Core ML itself gives an image input to the program as planes of 0 to 255.
    """
    ordered = image[..., ::-1] if color_space == "BGR" else image
    return np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), np.float32)


class MilSession(Session):
    """One function of a package."""

    def __init__(self, package: Package, *, function: str, rounded: bool, threads: int) -> None:
        from samedge.runtimes.mil.interpreter import Interpreter

        self.device = "cpu"
        self._features = package.inputs[function]
        self.inputs = package.input_specs(function)
        self.outputs = package.output_specs(function)
        self._threads = threads
        self._interpreter: Interpreter | None = Interpreter(
            package.functions[function], rounded=rounded
        )

    def _ready(self) -> Any:
        if self._interpreter is None:
            raise InferenceError("The mil session is closed: open the package again.")
        return self._interpreter

    def _tensors(self, feeds: Mapping[str, Array]) -> dict[str, Tensor]:
        import torch

        tensors = {}
        for feature in self._features:
            array = feeds[feature.name]
            feature.check_shape(array.shape)
            if feature.color_space is not None:
                array = image_chw_from_hwc(array, color_space=feature.color_space)
            elif array.dtype.kind == "f":
                array = np.asarray(array, np.float32)
            tensors[feature.name] = torch.from_numpy(np.array(array))
        return tensors

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        interpreter = self._ready()
        with torch_threads(self._threads):
            results = interpreter.run(self._tensors(feeds))
        return {
            spec.name: results[spec.name].numpy().astype(spec.dtype, copy=False)
            for spec in self.outputs
        }

    def observe(
        self, feeds: Mapping[str, Array], watcher: Callable[[str, Tensor], None]
    ) -> dict[str, Array]:
        """Run once and show every tensor with floats, the inputs first, to ``watcher``.

        Args:
            feeds: one array an input.
            watcher: called with a tensor's name in the program and its values.

        Returns:
            The outputs, as of ``run``.

        Raises:
            TensorMismatchError: the feeds do not fit.
            InferenceError: an operation failed.
        """
        self._check(feeds)
        tensors = self._tensors(feeds)
        for name, tensor in tensors.items():
            watcher(name, tensor)
        results = self._ready().run(
            tensors, observe=lambda op, _, result: watcher(op.outputs[0][0], result)
        )
        return {name: value.numpy() for name, value in results.items()}

    def overflow_report(self, feeds: Mapping[str, Array]) -> tuple[OverflowRisk, ...]:
        """Run once and say how near each operation comes to the largest fp16 number.

        Returns:
            One entry an operation with a float result, the riskiest first.

        Raises:
            TensorMismatchError: the feeds do not fit.
            InferenceError: an operation failed.
        """
        from samedge.runtimes.mil.overflow import measure_overflow

        self._check(feeds)
        return measure_overflow(self._ready(), self._tensors(feeds))

    def close(self) -> None:
        """Release the weights. Calling it again does nothing."""
        self._interpreter = None


class MilBackend(Backend):
    """Reads Core ML packages on any machine that has torch."""

    name = "mil"
    formats = ("coreml",)
    survives_fork = True
    extras = ("coreml", "torch")
    packages = ("coremltools", "torch")
    selftest = "graph.mlpackage"
    is_for_checks = True

    def probe(self) -> Probe:
        """Look for torch and for coremltools' protobuf classes."""
        try:
            missing = [
                name for name in ("torch", "coremltools", "google.protobuf") if _absent(name)
            ]
            if missing or proto.proto_folder() is None:
                lacking = ", ".join(missing) or "coremltools' protobuf classes"
                detail = f"{lacking} not installed; needed to read Core ML packages."
                return Probe(available=False, detail=detail, fix=self.install)
            version = importlib.metadata.version("coremltools")
        except Exception as error:  # noqa: BLE001 - a probe never raises
            return Probe(available=False, detail=f"coremltools: {error}", fix=self.install)
        detail = f"reads packages with the file format of coremltools {version}, computes in torch."
        return Probe(available=True, version=version, devices=("cpu",), detail=detail)

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> MilSession:
        """Open a package.

        Args:
            model: the ``.mlpackage`` folder.
            device: ``"cpu"`` or ``None``.
            options: ``rounding``, ``"fp16"`` (default) or ``"none"``; ``function``, the name of a
                function where the package has several; ``threads``.
            shapes: of no effect.
            keep: of no effect.

        Raises:
            BackendUnavailableError: torch or coremltools is not installed, or another device.
            InferenceError: the package is damaged, or has operations that are not known; the
                message names them.
            UnknownNameError: no such function, option or rounding.
        """
        del shapes, keep
        defaults = {"threads": 0, "rounding": "fp16", "function": ""}
        settings = checked_options(self.name, options, defaults=defaults)
        rounded = checked_choice(
            self.name, "rounding", value=settings["rounding"], choices=ROUNDINGS
        )
        checked_device(self, device)
        try:
            package = read_package(Path(model))
            function = package.function_name(settings["function"] or None)
            return MilSession(
                package, function=function, rounded=rounded, threads=settings["threads"]
            )
        except Exception as error:
            if isinstance(error, SamedgeError) and not isinstance(error, BundleError):
                raise
            raise InferenceError(f"The mil backend cannot open {model}: {error}") from error

    def reads(self, model: Path) -> tuple[Path, ...]:
        """Everything in the folder."""
        return files_inside(model)

    def write_example(self, folder: Path, artifact_format: str) -> Path:
        """As of ``Backend.write_example``."""
        del artifact_format
        return write_coreml_example(folder)


def _absent(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is None
    except ModuleNotFoundError:
        return True


BACKEND = MilBackend()
