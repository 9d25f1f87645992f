"""Core ML on macOS, through coremltools. Not yet run on a Mac: see docs/apple.md.

Everywhere else the ``mil`` backend reads the same packages.
"""

from __future__ import annotations

import collections
import importlib
import importlib.util
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samedge.errors import BundleError, InferenceError, SamedgeError
from samedge.runtimes.base import Array, Backend, Probe, Session, Shapes
from samedge.runtimes.mil.example import write_coreml_example
from samedge.runtimes.mil.package import Feature, Package, files_inside, read_package
from samedge.runtimes.options import checked_device, checked_options

_UNITS = {"all": "ALL", "cpu+ne": "CPU_AND_NE", "cpu+gpu": "CPU_AND_GPU", "cpu": "CPU_ONLY"}
_ENGINES = {
    "MLNeuralEngineComputeDevice": "ne",
    "MLGPUComputeDevice": "gpu",
    "MLCPUComputeDevice": "cpu",
}


class CoremlSession(Session):
    """One function of a package, compiled and loaded by Core ML."""

    def __init__(self, model: Any, package: Package, *, function: str, device: str) -> None:
        self.device = device
        self.inputs = package.input_specs(function)
        self.outputs = package.output_specs(function)
        self._features = package.inputs[function]
        self._function = function
        self._model: Any = model

    def _ready(self) -> Any:
        if self._model is None:
            raise InferenceError("The coreml session is closed: open the package again.")
        return self._model

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        model = self._ready()
        results = model.predict({f.name: _native_input(f, feeds[f.name]) for f in self._features})
        return {spec.name: np.array(results[spec.name], dtype=spec.dtype) for spec in self.outputs}

    def residency(self) -> dict[str, float]:
        """Where Core ML plans to execute the graph, from ``MLComputePlan`` (macOS 14.4, iOS 17.4).

        Returns:
            Share of the estimated cost by engine: ``ne``, ``gpu`` and ``cpu``; they sum to 1.

        Raises:
            InferenceError: the system has no compute plan.
        """
        model = self._ready()
        plans = importlib.import_module("coremltools.models.compute_plan")
        try:
            plan = plans.MLComputePlan.load_from_path(
                path=model.get_compiled_model_path(), compute_units=model.compute_unit
            )
            operations = plan.model_structure.program.functions[self._function].block.operations
        except Exception as error:
            raise InferenceError(
                f"Core ML gives no compute plan ({error}): it needs macOS 14.4 or later."
            ) from error
        return _shares(plan, operations)

    def close(self) -> None:
        """Release the model. Calling it again does nothing."""
        self._model = None


def _native_input(feature: Feature, array: Array) -> Any:
    feature.check_shape(array.shape)
    if feature.color_space is None:
        return array
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(array[0]))


def _shares(plan: Any, operations: Any) -> dict[str, float]:
    """Sum the estimated cost of the operations by the engine that Core ML prefers for each."""
    costs: collections.Counter[str] = collections.Counter()
    for operation in operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        if usage is not None and cost is not None:  # constants have neither
            engine = type(usage.preferred_compute_device).__name__
            costs[_ENGINES.get(engine, engine)] += cost.weight
    total = sum(costs.values())
    return {engine: cost / total for engine, cost in costs.items()} if total else {}


class CoremlBackend(Backend):
    """Opens Core ML packages on a Mac; its devices are Core ML's compute units."""

    name = "coreml"
    formats = ("coreml",)
    extras = ("coreml",)
    packages = ("coremltools",)
    selftest = "graph.mlpackage"
    stand_in = "mil"

    def probe(self) -> Probe:
        """Look for macOS and coremltools, without importing it."""
        system = platform.system()
        if system != "Darwin":
            return Probe(
                available=False,
                detail=f"Core ML runs on macOS only, and this is {system}; the mil backend reads "
                "the same packages here.",
                fix=f"{self.install}  # on a Mac",
            )
        spec = importlib.util.find_spec("coremltools")
        if spec is None:
            return Probe(available=False, detail="coremltools is not installed.", fix=self.install)
        release = platform.mac_ver()[0]
        return Probe(
            available=True,
            version=f"macOS {release}",
            devices=tuple(_UNITS),
            detail=f"Core ML of macOS {release}, through coremltools.",
        )

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> CoremlSession:
        """Compile and load a package.

        Args:
            model: the ``.mlpackage`` folder.
            device: compute units: ``all``, ``cpu+ne``, ``cpu+gpu`` or ``cpu``.
            options: ``function``, the name of a function where the package has several;
                ``threads`` is accepted and left to Core ML.
            shapes: of no effect.
            keep: of no effect.

        Raises:
            BackendUnavailableError: this is no Mac, coremltools is missing, or another device.
            InferenceError: Core ML cannot open the package.
            UnknownNameError: no such function or option.
        """
        del shapes, keep
        settings = checked_options(self.name, options, defaults={"threads": 0, "function": ""})
        chosen = checked_device(self, device)
        try:
            package = read_package(Path(model))
            function = package.function_name(settings["function"] or None)
            library = importlib.import_module("coremltools")
            native = library.models.MLModel(
                str(model),
                compute_units=getattr(library.ComputeUnit, _UNITS[chosen]),
                function_name=function if len(package.functions) > 1 else None,
            )
            return CoremlSession(native, package, function=function, device=chosen)
        except BundleError as error:
            raise InferenceError(f"Core ML cannot open {model}: {error}") from error
        except SamedgeError:
            raise
        except Exception as error:
            raise InferenceError(f"Core ML cannot open {model} on {chosen!r}: {error}") from error

    def reads(self, model: Path) -> tuple[Path, ...]:
        """Everything in the folder."""
        return files_inside(model)

    def write_example(self, folder: Path, artifact_format: str) -> Path:
        """As of ``Backend.write_example``."""
        del artifact_format
        return write_coreml_example(folder)


BACKEND = CoremlBackend()
