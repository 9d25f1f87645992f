"""ONNX Runtime.

Its Python wrapper answers a failing device by printing to stdout and running on the processor
instead; both are switched off here, and the provider that really opened is checked.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from samedge.errors import BackendUnavailableError, InferenceError, SamedgeError
from samedge.machine.libraries import library
from samedge.runtimes.base import Array, Backend, Probe, Session, Shapes, TensorSpec
from samedge.runtimes.example import write_onnx_example
from samedge.runtimes.onnx_files import external_files
from samedge.runtimes.onnxruntime.optimised import OptimisedGraph
from samedge.runtimes.options import checked_choice, checked_device, checked_options

_DEFAULTS: Mapping[str, Any] = {
    "threads": 0,  # 0: one a core
    "graph_optimization": "all",
    "spinning": True,  # within a run, idle threads wait busily: lower latency, busy cores
    "memory_arena": True,  # keep freed memory for the next run: faster, but a higher peak
    "cache": True,  # keep the optimised graph in the user's cache: it opens sooner the next time
}
_PROVIDERS = {  # best first
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
_RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
_PRODUCTS = frozenset(
    {"Conv", "ConvTranspose", "Einsum", "FusedConv", "FusedMatMul", "Gemm", "MatMul"}
)
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxRuntimeSession(Session):
    """One opened ONNX file."""

    def __init__(self, native: Any, device: str) -> None:
        self._native = native
        self.device = device
        self.inputs = tuple(_spec(argument) for argument in native.get_inputs())
        self.outputs = tuple(_spec(argument) for argument in native.get_outputs())

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._native is None:
            raise InferenceError("The session is closed: open the graph again.")
        wanted = [spec.name for spec in self.outputs]
        return dict(zip(wanted, self._native.run(wanted, dict(feeds)), strict=True))

    def close(self) -> None:
        """Release the graph's memory."""
        self._native = None


class OnnxRuntimeBackend(Backend):
    """Opens ``.onnx`` files on processors, NVIDIA GPUs and Apple devices."""

    name = "onnxruntime"
    formats = ("onnx",)
    survives_fork = True
    opens_together = True
    arithmetic = frozenset({"graph_optimization"})
    extras = ("onnxruntime",)
    packages = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
    selftest = "graph.onnx"
    scratch_options = MappingProxyType({"cache": False})
    exact_options = MappingProxyType({"graph_optimization": "disabled"})

    def probe(self) -> Probe:
        """Look for the library and its devices. Never raises."""
        if importlib.util.find_spec("onnxruntime") is None:
            return Probe(available=False, detail="onnxruntime is not installed.", fix=self.install)
        try:
            onnxruntime = library("onnxruntime")
            present = onnxruntime.get_available_providers()
        except Exception as error:  # noqa: BLE001 - a broken install fails in its own ways
            return Probe(
                available=False, detail=f"onnxruntime does not load: {error}.", fix=self.install
            )
        devices = tuple(device for device, name in _PROVIDERS.items() if name in present)
        return Probe(
            available=True,
            version=onnxruntime.__version__,
            devices=tuple("cuda:0" if device == "cuda" else device for device in devices),
            detail=f"onnxruntime {onnxruntime.__version__} with {', '.join(present)}.",
        )

    def spelled(self, device: str, probe: Probe) -> str | None:
        """Any index of a GPU: ONNX Runtime does not count them, opening tells."""
        if re.fullmatch(r"cuda:\d+", device) and "cuda:0" in probe.devices:
            return device
        return super().spelled(device, probe)

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> OnnxRuntimeSession:
        """Open an ONNX file.

        Args:
            model: path of the ``.onnx`` file.
            device: ``cpu``, ``cuda:0`` (any index) or ``coreml``; ``None`` takes the first here.
            options: ``threads``; ``graph_optimization`` (``all``, ``extended``, ``basic``,
                ``disabled``: quantized graphs are evaluated with the last); ``spinning``;
                ``memory_arena``; ``cache``.
            shapes: of no effect.
            keep: of no effect.

        Raises:
            BackendUnavailableError: the library or the device is not here.
            InferenceError: the library cannot open the file.
        """
        del shapes, keep
        settings = checked_options(self.name, options, defaults=_DEFAULTS)
        chosen = checked_device(self, device)
        return OnnxRuntimeSession(_open(model, chosen, settings), chosen)

    def shared_options(
        self, callers: int, *, device: str, options: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """No busy waiting: a caller that waits for its parts would take another's processor.

        The number of threads stays, since it decides how products are cut and so their last bits.
        """
        del callers
        return {"spinning": False} if device == "cpu" and options.get("threads") != 1 else {}

    def build(self, device: str) -> tuple[str, ...]:
        """The library's own description of its build."""
        del device
        return (str(library("onnxruntime").get_build_info()),)

    def compiled_files(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Path, ...]:
        """What the cache holds of the graph as it was optimised for this processor."""
        settings = checked_options(self.name, options, defaults=_DEFAULTS)
        kept = _kept(model, checked_device(self, device), settings)
        file = kept.file() if kept is not None and kept.is_kept else None
        return () if file is None else (file,)

    def reads(self, model: Path) -> tuple[Path, ...]:
        """The file, and those that it keeps its tensors in."""
        if OptimisedGraph(model, _DEFAULTS["graph_optimization"]).is_kept:
            return (model,)
        return (model, *(model.parent / name for name in external_files(model)))

    def write_example(self, folder: Path, artifact_format: str) -> Path:
        """As of ``Backend.write_example``."""
        del artifact_format
        return write_onnx_example(folder)


def _open(model: Path, device: str, settings: Mapping[str, Any]) -> Any:
    onnxruntime = library("onnxruntime")
    kind, _, index = device.partition(":")
    provider = _PROVIDERS[kind]
    provider_options = {"device_id": index} if index else {}

    def session_options() -> Any:
        made = _session_options(settings)
        if kind == "cuda":
            made.add_session_config_entry(_RECORD_ASSIGNMENT, "1")
        return made

    def create(graph: str | bytes, options: Any) -> Any:
        return onnxruntime.InferenceSession(
            graph,
            sess_options=options,
            providers=[(provider, provider_options)],
            enable_fallback=0,
        )

    kept = _kept(model, device, settings)
    try:
        if kept is not None:
            native = kept.opened(create, session_options)
        else:
            native = create(os.fspath(model), session_options())
    except SamedgeError:  # an option's value
        raise
    except Exception as error:
        raise InferenceError(
            f"ONNX Runtime {onnxruntime.__version__} cannot open {model} on {device!r}: {error}"
        ) from error
    active = native.get_providers()[0]
    if active != provider:
        raise BackendUnavailableError(
            f"ONNX Runtime opened {model.name} with {active} instead of {provider}: the driver or "
            f"library of device {device!r} is missing. Fix: install it, or ask for device 'cpu'."
        )
    if kind == "cuda":
        _check_assignment(native, provider, model)
    return native


def _kept(model: Path, device: str, settings: Mapping[str, Any]) -> OptimisedGraph | None:
    """The graph as it is kept, where that saves work: the passes after the basic ones."""
    level = settings["graph_optimization"]
    if device != "cpu" or not settings["cache"] or level not in ("all", "extended"):
        return None
    return OptimisedGraph(model, level)


def _check_assignment(native: Any, provider: str, model: Path) -> None:
    """Refuse a session whose products run elsewhere than on the device that was asked for.

    ONNX Runtime gives single nodes that a provider does not take to the processor and says nothing.
    Shapes belong there, so that forbidding it altogether would refuse good graphs.
    """
    if not hasattr(native, "get_provider_graph_assignment_info"):
        return  # before 1.24
    parts = [p for p in native.get_provider_graph_assignment_info() if p.ep_name != provider]
    stray = [node for p in parts for node in p.get_nodes() if node.op_type in _PRODUCTS]
    if stray:
        raise BackendUnavailableError(
            f"{provider} leaves {len(stray)} products of {model.name} to the processor, such as "
            f"{stray[0].op_type} {stray[0].name!r}. Fix: export the bundle with `samedge export "
            "--target cuda --precision fp32`, or ask for device 'cpu'."
        )


def _session_options(settings: Mapping[str, Any]) -> Any:
    onnxruntime = library("onnxruntime")
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; they are raised as well
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = settings["memory_arena"]
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "1" if settings["spinning"] else "0"
    )
    # Else the encoder's threads go on waiting busily on the cores that the decoder's want.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.graph_optimization_level = checked_choice(
        "onnxruntime",
        "graph_optimization",
        value=settings["graph_optimization"],
        choices={
            "all": levels.ORT_ENABLE_ALL,
            "extended": levels.ORT_ENABLE_EXTENDED,
            "basic": levels.ORT_ENABLE_BASIC,
            "disabled": levels.ORT_DISABLE_ALL,
        },
    )
    return options


def _spec(argument: Any) -> TensorSpec:
    shape = tuple(
        axis if isinstance(axis, int | str) else f"axis{position}"
        for position, axis in enumerate(argument.shape)
    )
    if argument.type not in _DTYPES:
        raise InferenceError(
            f"Tensor {argument.name!r} has type {argument.type}, expected one of "
            f"{', '.join(_DTYPES)}: export the graph with samedge."
        )
    return TensorSpec(argument.name, _DTYPES[argument.type], shape)


BACKEND = OnnxRuntimeBackend()
