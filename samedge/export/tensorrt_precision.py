"""Explicit precisions for TensorRT: casts to fp16 around fp32 islands, and int8 pairs inside.

The two steps are samedge's quantizers ``qdq`` and ``cast``; what they leave in a higher precision,
and why, is theirs to decide.
"""

from __future__ import annotations

from pathlib import Path

from samedge.export.base import ExportRequest
from samedge.export.graphs import Graph
from samedge.export.onnx_graph import save_onnx
from samedge.export.quantization import plan_of, quantized
from samedge.export.tensorrt_graph import float_for_others
from samedge.types import Precision

PRECISIONS = (Precision.FP16, Precision.INT8, Precision.FP32)


def lower_precision(path: Path, graph: Graph, *, request: ExportRequest) -> Precision:
    """Rewrite a float32 file in the precision of a request.

    Args:
        path: the ``.onnx`` file; it is replaced.
        graph: what it holds.
        request: gives the precision, the plan and the calibration set.

    Returns:
        The precision of the file: the plan's ``rest`` for a graph of which it quantizes nothing.

    Raises:
        CalibrationError: the plan or the calibration set does not fit the graph.
    """
    import onnx

    if request.precision is Precision.FP32:
        return Precision.FP32
    rest = Precision(plan_of(request).rest)
    precision = rest
    if request.precision is Precision.INT8 and _step("qdq", path, graph, request):
        precision = Precision.INT8
        save_onnx(float_for_others(onnx.load(path)), path)
    if rest is not Precision.FP32:
        _step("cast", path, graph, request)
    return precision


def _step(quantizer: str, path: Path, graph: Graph, request: ExportRequest) -> tuple[str, ...]:
    """One quantizer; the modules that it changed."""
    before = path.with_suffix(".before.onnx")
    path.replace(before)
    converted = quantized(before, path, graph=graph, request=request, quantizer=quantizer)
    before.unlink()
    return converted.modules
