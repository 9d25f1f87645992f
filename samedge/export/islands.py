"""What the fp32 islands of a half-precision graph cost: their share of the work, and the casts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from samedge.errors import BundleError
from samedge.inspection.roofline import graph_cost
from samedge.types import Precision

_MOVES = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear", "Constant"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Islands:
    """What of a graph stays in fp32 where the rest is narrower.

    Attributes:
        operators: nodes with a float result, casts and Q/DQ apart.
        kept: those of them that compute in fp32.
        casts: conversions between two float types.
        share: of the multiplications in products and convolutions, those in fp32, 0 to 1; ``None``
            where the file does not tell its shapes.
    """

    operators: int
    kept: int
    casts: int
    share: float | None

    def __str__(self) -> str:
        work = "" if self.share is None else f" with {_percent(self.share)} of the multiplications"
        casts = "1 cast" if self.casts == 1 else f"{self.casts} casts"
        return f"{self.kept} of {self.operators} float operators stay in fp32{work}, {casts}"


def fp32_islands(path: Path) -> Islands | None:
    """Count the fp32 islands of an ONNX file.

    Args:
        path: the file, with what lies beside it.

    Returns:
        ``None`` for a graph that computes nothing in half precision.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False)
    if not _casts_to_half(graph):
        return None  # inputs are never half, so nothing else is
    kinds = _float_kinds(graph)
    results = [
        kinds[name]
        for node in graph.graph.node
        if node.op_type not in _MOVES
        for name in node.output[:1]
        if name in kinds
    ]
    kept = results.count(onnx.TensorProto.FLOAT)
    if kept == len(results):
        return None
    casts = sum(
        node.op_type == "Cast" and {node.input[0], node.output[0]} <= kinds.keys()
        for node in graph.graph.node
    )
    return Islands(operators=len(results), kept=kept, casts=casts, share=_share(path))


def island_notes(path: Path) -> tuple[str, ...]:
    """:func:`fp32_islands` as what an exporter notes about a file; empty where there is nothing."""
    found = fp32_islands(path)
    return () if found is None else (str(found),)


def _casts_to_half(model: Any) -> bool:
    return any(
        attribute.name == "to" and attribute.i in _halves()
        for node in model.graph.node
        if node.op_type == "Cast"
        for attribute in node.attribute
    )


def _halves() -> tuple[int, ...]:
    import onnx

    return onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16


def _float_kinds(model: Any) -> dict[str, int]:
    """Element types of the float tensors, by name."""
    import onnx

    floats = {onnx.TensorProto.FLOAT, *_halves()}
    graph = onnx.shape_inference.infer_shapes(model).graph
    infos = (*graph.value_info, *graph.input, *graph.output)
    kinds = {info.name: int(info.type.tensor_type.elem_type) for info in infos}
    return {name: kind for name, kind in kinds.items() if kind in floats}


def _share(path: Path) -> float | None:
    try:
        operations = graph_cost(path).operations
    except BundleError:
        return None
    return operations.get(Precision.FP32, 0) / max(sum(operations.values()), 1)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share == 0 or share >= 1e-3 else "below 0.1%"
