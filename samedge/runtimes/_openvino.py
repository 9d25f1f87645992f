"""OpenVINO: processors, graphics and NPUs of Intel, and any x86-64 or ARM processor.

Its defaults aim at throughput and recompile at every start; here one request runs at a time, with
the latency hint, and compiled graphs are kept in the user's cache.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samedge._cache import cache_folder
from samedge.errors import InferenceError
from samedge.runtimes.base import Array, Backend, Probe, Session, TensorSpec
from samedge.runtimes.options import checked_choice, checked_device, checked_options

_DEFAULTS: Mapping[str, Any] = {
    "threads": 0,  # 0: one a physical core
    "inference_precision": "f32",
    "cache": True,  # keep the compiled graph in the user's cache
}
_PRECISIONS = {"f32": "f32", "f16": "f16", "bf16": "bf16"}


class OpenVinoSession(Session):
    """One compiled graph with one inference request.

    Attributes:
        inference_precision: what the device really computes in; a processor without bf16 answers
            the wish for it with ``f32``.
    """

    def __init__(self, compiled: Any, device: str) -> None:
        self.device = device
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        self.outputs = tuple(_spec(port) for port in compiled.outputs)
        self.inference_precision = _active_precision(compiled)
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()  # a request is not safe to share between threads

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        with self._lock:
            if self._request is None:
                raise InferenceError("The session is closed: open the graph again.")
            # The inputs are read in place; the outputs are copied, because the next run
            # overwrites the request's buffers while an embedding must live on.
            results = self._request.infer(dict(feeds), share_inputs=True, share_outputs=False)
            return dict(zip((spec.name for spec in self.outputs), results.to_tuple(), strict=True))

    def close(self) -> None:
        """Release the graph's memory."""
        with self._lock:
            self._request = None


class OpenVinoBackend(Backend):
    """Opens OpenVINO IR (``.xml`` with its ``.bin``) and ONNX files."""

    name = "openvino"
    formats = ("openvino", "onnx")

    def probe(self) -> Probe:
        """Look for the library and its devices. Never raises."""
        fix = "pip install 'samedge[openvino]'"
        if importlib.util.find_spec("openvino") is None:
            return Probe(available=False, detail="openvino is not installed.", fix=fix)
        try:
            import openvino

            version = openvino.get_version()
            devices = tuple(_core().available_devices)
        except Exception as error:  # noqa: BLE001 - a broken install fails in its own ways
            return Probe(available=False, detail=f"openvino does not load: {error}.", fix=fix)
        if not devices:
            return Probe(available=False, version=version, detail="no device found.", fix=fix)
        return Probe(
            available=True,
            version=version.split("-")[0],
            devices=devices,
            detail=f"openvino {version.split('-')[0]} on {', '.join(devices)}.",
        )

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> OpenVinoSession:
        """Compile a graph for a device, or take it from the user's cache.

        Args:
            model: path of the ``.xml`` or ``.onnx`` file.
            device: ``CPU``, ``GPU``, ``GPU.1``, ``NPU``; ``None`` takes the first here.
            options: ``threads``; ``inference_precision`` (``f32`` computes exactly, ``bf16`` and
                ``f16`` where the device has them); ``cache``.

        Raises:
            BackendUnavailableError: the library or the device is not here.
            InferenceError: the library cannot open the file.
        """
        settings = checked_options(self.name, options, _DEFAULTS)
        precision = checked_choice(
            self.name, "inference_precision", settings["inference_precision"], _PRECISIONS
        )
        chosen = checked_device(self, device)
        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        if settings["threads"] and chosen.startswith("CPU"):
            properties["INFERENCE_NUM_THREADS"] = settings["threads"]
        if settings["cache"]:
            properties["CACHE_DIR"] = os.fspath(_compiled_folder(model))
        try:
            compiled = _core().compile_model(os.fspath(model), chosen, properties)
        except Exception as error:
            raise InferenceError(f"OpenVINO cannot open {model} on {chosen!r}: {error}") from error
        return OpenVinoSession(compiled, chosen)


@functools.cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def _compiled_folder(model: Path) -> Path:
    """Cache folder of one graph file.

    OpenVINO keys its cache by the path and the date of the ``.xml``: other weights under the same
    name and date get the old graph (seen with 2026.4). The key here covers both files.
    """
    key = hashlib.sha256(os.fspath(model.resolve()).encode())
    for path in (model, model.with_suffix(".bin")):
        if path.is_file():
            state = path.stat()
            key.update(f"{path.name} {state.st_size} {state.st_mtime_ns} {state.st_ino}".encode())
    return cache_folder("openvino") / key.hexdigest()[:24]


def _active_precision(compiled: Any) -> str:
    try:
        return str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
    except Exception:  # noqa: BLE001 - not every device tells
        return "unknown"


def _spec(port: Any) -> TensorSpec:
    shape = tuple(
        int(axis.get_length()) if axis.is_static else f"axis{position}"
        for position, axis in enumerate(port.get_partial_shape())
    )
    return TensorSpec(port.get_any_name(), port.get_element_type().to_dtype().name, shape)


BACKEND = OpenVinoBackend()
