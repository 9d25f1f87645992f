"""OpenVINO: processors, graphics and NPUs of Intel, and any x86-64 or ARM processor.

Its defaults aim at throughput and recompile at every start; here one request runs at a time, with
the latency hint, and compiled graphs are kept in the user's cache. With dynamic axes it fuses less,
and works out every shape in every run: a decoder's usual shapes get graphs of their own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from samedge.errors import InferenceError, OptionError
from samedge.machine.environment import usable_cores
from samedge.machine.libraries import library
from samedge.runtimes.base import Array, Backend, Probe, Session, Shapes, TensorSpec
from samedge.runtimes.example import write_onnx_example
from samedge.runtimes.onnx_files import external_files
from samedge.runtimes.openvino.compiled import CompiledGraph, core, identity
from samedge.runtimes.options import checked_choice, checked_device, checked_options
from samedge.types import Options

_DEFAULTS: Mapping[str, Any] = {
    "threads": 0,  # 0: one a physical core
    "callers": 1,  # runs at the same time, each with so many threads
    "inference_precision": "f32",
    "cache": True,  # keep the compiled graph in the user's cache
    "release_memory": False,  # give what is between the layers back after each run: slower, smaller
}
_PRECISIONS = {"f32": "f32", "f16": "f16", "bf16": "bf16"}

_HEAD_BYTES = 64
_RESULT = "/sink_port_0"  # what the library calls the end of an output

_Key = tuple[tuple[int, ...], ...]
"""Shapes of the dynamic inputs in the inputs' order; empty for any shapes."""


class OpenVinoSession(Session):
    """One graph, compiled once with its dynamic axes and once for each of its usual shapes.

    Which one runs depends on the shapes alone, so that equal feeds have equal results. The first is
    compiled at once, the others when they come.

    Args:
        graph: the file.
        usual: shapes of all dynamic inputs, the likeliest first; shapes of other inputs are
            ignored, and so are all for a graph without dynamic inputs.
        callers: so many run at the same time, each on a compiled graph of its own; others wait.
            Streams of one compiled graph would share its weights, but 2026.4.1 computes the region
            encoder wrongly with two of them, values off by up to 6.
        releases: whether memory for what is between the layers goes back after each run.

    Attributes:
        inference_precision: what the device really computes in; a processor without bf16 answers
            the wish for it with ``f32``.
    """

    def __init__(
        self,
        graph: CompiledGraph,
        usual: Sequence[Shapes],
        *,
        callers: int = 1,
        releases: bool = False,
    ) -> None:
        self.device = graph.device
        self._graph, self._releases = graph, releases
        self._free: dict[_Key, list[Any]] = {}  # a request is not safe to share between threads
        self._is_closed = False
        self._callers, self._lock = threading.Semaphore(callers), threading.Lock()
        model = graph.model() if usual else None
        self._names = () if model is None else _dynamic_names(model)
        self._usual: tuple[_Key, ...] = tuple(
            tuple(shapes[name] for name in self._names)
            for shapes in usual
            if self._names and set(self._names) <= set(shapes)
        )
        likeliest = self._usual[0] if self._usual else ()
        compiled = self._compiled(likeliest)
        self._free[likeliest] = [compiled.create_infer_request()]
        ports = model if model is not None else compiled
        self.inputs = tuple(_spec(port) for port in ports.inputs)
        self.outputs = tuple(_spec(port) for port in ports.outputs)
        self.inference_precision = _active_precision(compiled)

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        key: _Key = tuple(feeds[name].shape for name in self._names)
        # The inputs are read in place; the outputs are copied, because the next run
        # overwrites the request's buffers while an embedding must live on.
        with self._request(key if key in self._usual else ()) as request:
            results = request.infer(dict(feeds), share_inputs=True, share_outputs=False).to_tuple()
            if self._releases:
                request.get_compiled_model().release_memory()
            return dict(zip((spec.name for spec in self.outputs), results, strict=True))

    @contextlib.contextmanager
    def _request(self, key: _Key) -> Iterator[Any]:
        """A request for this caller alone, as long as it is inside."""
        with self._callers:
            with self._lock:
                free = self._free.setdefault(key, [])
                request = free.pop() if free else self._compiled(key).create_infer_request()
            try:
                yield request
            finally:
                with self._lock:
                    if not self._is_closed:
                        free.append(request)

    def _compiled(self, key: _Key) -> Any:
        if self._is_closed:
            raise InferenceError("The session is closed: open the graph again.")
        return self._graph.compiled(dict(zip(self._names, key, strict=True)) if key else {})

    def close(self) -> None:
        """Release the graph's memory."""
        with self._lock:
            self._is_closed = True
            self._free.clear()


def _dynamic_names(model: Any) -> tuple[str, ...]:
    return tuple(_own_name(port) for port in model.inputs if port.get_partial_shape().is_dynamic)


class OpenVinoBackend(Backend):
    """Opens OpenVINO IR (``.xml`` with its ``.bin``) and ONNX files."""

    name = "openvino"
    formats = ("openvino", "onnx")
    extras = ("openvino",)
    packages = ("openvino",)
    selftest = "graph.onnx"
    scratch_options = MappingProxyType({"cache": False})
    releasing_options = MappingProxyType({"release_memory": True})
    arithmetic = frozenset({"inference_precision"})

    def probe(self) -> Probe:
        """Look for the library and its devices. Never raises."""
        if importlib.util.find_spec("openvino") is None:
            return Probe(available=False, detail="openvino is not installed.", fix=self.install)
        try:
            openvino = library("openvino")
            version = openvino.get_version()
            devices = tuple(core().available_devices)
        except Exception as error:  # noqa: BLE001 - a broken install fails in its own ways
            return Probe(
                available=False, detail=f"openvino does not load: {error}.", fix=self.install
            )
        if not devices:
            return Probe(
                available=False, version=version, detail="no device found.", fix=self.install
            )
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
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> OpenVinoSession:
        """Compile a graph for a device, or take it from the user's cache.

        Args:
            model: path of the ``.xml`` or ``.onnx`` file.
            device: ``CPU``, ``GPU``, ``GPU.1``, ``NPU``; ``None`` takes the first here.
            options: ``threads``; ``callers``, how many run at the same time, each with so many
                threads; ``inference_precision`` (``f32`` computes exactly, ``bf16`` and
                ``f16`` where the device has them); ``cache``; ``release_memory``.
            shapes: of every dynamic input: each set gets a graph of its own, the first at once and
                the others when they come; one graph serves all other shapes.
            keep: of no effect.

        Raises:
            BackendUnavailableError: the library or the device is not here.
            InferenceError: the library cannot open the file.
        """
        del keep
        graph, given = self._graph(model, device, options), options or {}
        return OpenVinoSession(
            graph,
            shapes,
            callers=given.get("callers", 1),
            releases=given.get("release_memory", False),
        )

    def shared_options(
        self, callers: int, *, device: str, options: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """For each caller a compiled graph, with a share of the processors or its ``threads``."""
        if not device.startswith("CPU"):
            return {}
        share = max((usable_cores() or 1) // callers, 1)
        return {"callers": callers, "threads": options.get("threads", 0) or share}

    def compiled_files(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Path, ...]:
        """As of ``Backend.compiled_files``."""
        return self._graph(model, device, options).files()

    def _graph(
        self, model: Path, device: str | None, options: Mapping[str, Any] | None
    ) -> CompiledGraph:
        settings = checked_options(self.name, options, defaults=_DEFAULTS)
        precision = checked_choice(
            self.name,
            "inference_precision",
            value=settings["inference_precision"],
            choices=_PRECISIONS,
        )
        chosen = checked_device(self, device)
        properties: Options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        if settings["threads"] and chosen.startswith("CPU"):
            properties["INFERENCE_NUM_THREADS"] = settings["threads"]
        if settings["callers"] < 1:
            raise OptionError(f"callers is {settings['callers']}, expected 1 or more.")
        if settings["callers"] > 1 and chosen.startswith("CPU"):
            properties["ENABLE_CPU_PINNING"] = False  # else all of them to the same processors
        reads = self.reads(model) if settings["cache"] else None
        return CompiledGraph(model, chosen, properties, reads=reads)

    def build(self, device: str) -> tuple[str, ...]:
        """The library's full version, and what the device says of itself and its driver."""
        return (library("openvino").get_version(), *identity(device))

    def reads(self, model: Path) -> tuple[Path, ...]:
        """The ``.xml``, which names no other file, and its ``.bin``; of ONNX what it names.

        The library goes by what a file holds, and not by its name.
        """
        if not _is_xml(model):
            return (model, *(model.parent / name for name in external_files(model)))
        weights = model.with_suffix(".bin")
        return (model, weights) if weights.exists() else (model,)

    def write_example(self, folder: Path, artifact_format: str) -> Path:
        """As of ``Backend.write_example``."""
        source = write_onnx_example(folder)
        if artifact_format == "onnx":
            return source
        openvino = library("openvino")
        path = source.with_suffix(".xml")
        openvino.save_model(openvino.convert_model(source), path, compress_to_fp16=False)
        source.unlink()
        return path


def _is_xml(model: Path) -> bool:
    try:
        with model.open("rb") as file:
            return file.read(_HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    except OSError:  # opening it says why
        return model.suffix == ".xml"


def _active_precision(compiled: Any) -> str:
    try:
        return str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
    except Exception:  # noqa: BLE001 - not every device tells
        return "unknown"


def _own_name(port: Any) -> str:
    """What the file calls an input or an output.

    A tensor has several names where the library folded away what stood beside it, such as a
    cast that the processor does not need, and none of them comes first. The file's own is that of
    the node.
    """
    own = str(port.get_node().get_friendly_name()).removesuffix(_RESULT)
    return own if own in port.get_names() else str(port.get_any_name())


def _spec(port: Any) -> TensorSpec:
    shape = tuple(
        int(axis.get_length()) if axis.is_static else f"axis{position}"
        for position, axis in enumerate(port.get_partial_shape())
    )
    return TensorSpec(_own_name(port), port.get_element_type().to_dtype().name, shape)


BACKEND = OpenVinoBackend()
