"""ONNX for a browser: graphs of fixed shapes, and the page beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from samedge.errors import ExportError
from samedge.export.base import ExportedGraph, Exporter, ExportRequest
from samedge.export.graphs import Graph
from samedge.export.onnx_graph import onnx_model, save_onnx
from samedge.export.web_graph import block_depthwise, max_for_relu
from samedge.types import Precision, Role
from samedge.web.runtime import runtime_folder
from samedge.web.site import write_site

_RUNTIME = "runtime"


class WebExporter(Exporter):
    """One ``.onnx`` file a graph, of fixed shapes, so that nothing computes with int64 in the page.

    They are written as the library computes them fastest in WebAssembly, by other operators for the
    same numbers (:mod:`samedge.export.web_graph`).

    They are checked with ONNX Runtime on this machine, which is the browser's library built for it;
    the page runs the bundle's canary where it computes.
    """

    name = "web"
    artifact_format = "onnx"
    precisions = (Precision.FP32,)
    packages = ("torch", "onnx", "onnxslim")
    region_batch = 8  # without a number, shapes are computed in int64
    option_help: ClassVar[Mapping[str, str]] = {
        _RUNTIME: "folder of onnxruntime-web, where it is not to be fetched from npm"
    }

    def _check(self, request: ExportRequest) -> None:
        super()._check(request)
        if request.words is not None and request.words.model.reads_text:
            raise ExportError(
                "This model of words reads phrases with a text encoder, and the page runs "
                "none: take --words samedge-words, or give the page a server with `samedge serve`."
            )

    def provide(self, request: ExportRequest) -> None:
        """Have ONNX Runtime Web here before the long work."""
        request.steps.say("onnxruntime-web")
        self._runtime(request)

    def accompany(self, request: ExportRequest, folder: Path) -> None:
        """Put the page into the bundle's folder."""
        write_site(folder, self._runtime(request))

    @staticmethod
    def _runtime(request: ExportRequest) -> Path:
        given = request.options.get(_RUNTIME)
        return runtime_folder(Path(given) if given else None)

    def _export(self, graph: Graph, request: ExportRequest, folder: Path) -> ExportedGraph:
        path = folder / f"{graph.role}.onnx"
        model = onnx_model(graph, request)
        if graph.is_native:
            if graph.role == Role.DECODER:
                block_depthwise(model)  # an encoder would grow, pico's by 5.5 MB, and gain little
            max_for_relu(model)
        extra = save_onnx(model, path)
        if extra:
            raise ExportError(
                f"The {graph.role} is larger than one file of 2 GB, which no browser opens: take a "
                "smaller model."
            )
        if graph.is_native:
            check_no_int64(path)
        return ExportedGraph(graph=graph, path=path.name, format="onnx", precision=Precision.FP32)


def check_no_int64(path: Path) -> None:
    """Refuse a graph in which 64-bit integers are computed: WebGPU has none.

    Constants that say a shape, an axis or an index are no computation: the library reads them when
    it loads the file, and ONNX has no other type for them.

    Args:
        path: the ``.onnx`` file.

    Raises:
        ExportError: names the tensors.
    """
    import onnx

    model: Any = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    graph, wide = model.graph, onnx.TensorProto.INT64
    constants = {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    found = [
        value.name
        for value in (*graph.input, *graph.output, *graph.value_info)
        if value.type.tensor_type.elem_type == wide and value.name not in constants
    ]
    if found:
        raise ExportError(
            f"{path.name} computes {len(found)} tensors of 64-bit integers "
            f"({', '.join(found[:3])}), which a browser's GPU cannot: fixed prompt buckets leave "
            "none in samedge's own models."
        )


EXPORTER = WebExporter()
