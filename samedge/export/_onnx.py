"""ONNX, for ONNX Runtime and whatever else reads it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samedge.calibration.base import suited
from samedge.export.base import ExportedGraph, Exporter, ExportRequest
from samedge.export.graphs import Graph
from samedge.export.islands import island_notes
from samedge.export.onnx_graph import onnx_model, save_onnx
from samedge.export.onnx_storage import store_bytes
from samedge.export.quantization import quantized
from samedge.export.signs import make_unimodal
from samedge.types import Precision, Role

_LARGE_MODEL = 50_000_000  # parameters


class OnnxExporter(Exporter):
    """One ``.onnx`` file a graph.

    INT8 is written as explicit Q/DQ, fp16 and bf16 with explicit casts.
    """

    name = "onnx"
    precisions = (Precision.FP32, Precision.INT8, Precision.FP16, Precision.BF16)
    packages = ("torch", "onnx", "onnxslim")
    plans_halves = True

    def check_settings(self, request: ExportRequest) -> Mapping[str, Any]:
        """Without an arena for a large model: its pools grow by powers of two, to many gigabytes,
        beside the reference in torch. A small one is timed as it will run.
        """
        parameters = sum(tensor.numel() for tensor in request.model.parameters())
        return {"memory_arena": False} if parameters > _LARGE_MODEL else {}

    def _export(self, graph: Graph, request: ExportRequest, folder: Path) -> ExportedGraph:
        path = folder / f"{graph.role}.onnx"
        precision = Precision.FP32
        extra: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        if request.precision is Precision.FP32 or not graph.is_native:
            model = onnx_model(graph, request)
            if graph.role == Role.REGION_ENCODER:
                store_bytes(model)
            extra = save_onnx(model, path)
        else:
            precision, notes = _write_converted(graph, request, path)
        return ExportedGraph(
            graph=graph,
            path=path.name,
            format=self.name,
            precision=precision,
            extra_files=extra,
            notes=(*island_notes(path), *notes),
        )


def _write_converted(
    graph: Graph, request: ExportRequest, path: Path
) -> tuple[Precision, tuple[str, ...]]:
    """Write a graph in a lower precision; the precision that it really has, and what to note."""
    if request.precision is Precision.INT8:
        make_unimodal(graph, request)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        source = Path(scratch, "float.onnx")
        save_onnx(onnx_model(graph, request), source)
        quantizer = suited("onnx", backend=request.target.backend, precision=request.precision)
        assert quantizer is not None, "one for each of this exporter's precisions"
        converted = quantized(source, path, graph=graph, request=request, quantizer=quantizer.name)
    if not converted.modules:
        return Precision.FP32, ()
    return request.precision, (quantizer.note,) if quantizer.note else ()


EXPORTER = OnnxExporter()
