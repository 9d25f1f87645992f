"""OpenVINO IR, converted from the ONNX graph."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samedge.export.base import ExportedGraph, Exporter, ExportRequest
from samedge.export.graphs import DecoderGraph, Graph, flat
from samedge.export.onnx_graph import metadata, onnx_model, save_onnx, written_onnx
from samedge.export.quantization import plan_of, quantized
from samedge.export.signs import make_unimodal
from samedge.machine.libraries import library
from samedge.types import Precision


class OpenVinoExporter(Exporter):
    """An ``.xml`` with its ``.bin`` a graph.

    Weights are stored in half precision only where that was asked for: bf16 is what the processor
    computes in, and it rounds fp32 weights itself when it loads them.

    Only samedge's own graphs are written so; a decoder in Meta's dialect stays ONNX, because the
    programs that know that dialect read nothing else.
    """

    name = "openvino"
    precisions = (Precision.BF16, Precision.FP32, Precision.FP16, Precision.INT8)
    packages = ("torch", "onnx", "onnxslim", "openvino", "nncf")

    def graphs(self, request: ExportRequest) -> Iterator[Graph]:
        """The decoder's short rows are normalised with the mean taken out beforehand: faster."""
        for graph in super().graphs(request):
            if isinstance(graph, DecoderGraph):
                yield DecoderGraph(request.model, bucket=self._bucket(request), centred=True)
            else:
                yield graph

    def _export(self, graph: Graph, request: ExportRequest, folder: Path) -> ExportedGraph:
        if not graph.is_native:
            return written_onnx(graph, request, folder=folder)
        openvino = library("openvino")
        path = folder / f"{graph.role}.xml"
        if request.precision is Precision.INT8:
            make_unimodal(graph, request)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            source = Path(scratch, "graph.onnx")
            with flat(graph):
                save_onnx(onnx_model(graph, request), source)
            model = openvino.convert_model(source)
            _describe(model, graph, request)
            precision = request.precision
            if precision is Precision.INT8:
                precision = _write_quantized(model, graph, request, path)
            else:
                half = precision is Precision.FP16
                openvino.save_model(model, path, compress_to_fp16=half)
        return ExportedGraph(
            graph=graph,
            path=path.name,
            format=self.name,
            precision=precision,
            extra_files=(path.with_suffix(".bin").name,),
        )


def _write_quantized(model: Any, graph: Graph, request: ExportRequest, path: Path) -> Precision:
    """Write a graph as the plan wants it; the precision that it really has."""
    openvino = library("openvino")
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        source = Path(scratch, "float.xml")
        openvino.save_model(model, source, compress_to_fp16=False)
        converted = quantized(source, path, graph=graph, request=request, quantizer="nncf")
    return Precision.INT8 if converted.modules else Precision(plan_of(request).rest)


def _describe(model: Any, graph: Graph, request: ExportRequest) -> None:
    for name, value in metadata(graph, request).items():
        model.set_rt_info(value, ["samedge", name])


EXPORTER = OpenVinoExporter()
