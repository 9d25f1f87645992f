"""How fast a graph could run on a module at best: a bound for planning, never a measurement.

A graph cannot be done before its products are multiplied at the peak rate of their precision, nor
before its weights, inputs and outputs have crossed the memory bus once (the roofline model,
Williams et al. 2009). How far above it an engine stays is known when it is measured: kernels that
do not fill the GPU, activations that leave the cache, element-wise layers and the launch of each
kernel all come on top, and weigh most in a small model.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from samedge.errors import BundleError
from samedge.machine.hardware import HARDWARE, Hardware
from samedge.pixels.prompts import Bucket
from samedge.types import Array, Precision

PEERS = (
    ("NanoSAM ResNet18, encoder", "AGX Orin", 4.2),
    ("NanoSAM ResNet18, all stages", "AGX Orin", 8.1),
    ("NanoSAM ResNet18, all stages", "Orin Nano", 27.0),
    ("MobileSAM, encoder", "AGX Orin", 35.0),
    ("MobileSAM, all stages", "Orin Nano", 146.0),
    ("EfficientViT-SAM L0, encoder", "AGX Orin", 8.2),
)
"""Latencies in ms that their authors published: NVIDIA-AI-IOT/nanosam, mit-han-lab/efficientvit."""

_COUNTING = frozenset(
    {"Constant", "Gather", "Slice", "Concat", "Cast", "Range", "Squeeze", "Unsqueeze"}
    | {"Reshape", "Add", "Sub", "Mul", "Div"}
)
_FEW = 64  # elements of a constant that may be a shape
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphCost:
    """What a graph costs on any machine.

    Attributes:
        operations: multiplications and additions of its products, by precision.
        bytes_moved: weights, inputs and outputs, each once.
    """

    operations: Mapping[Precision, int]
    bytes_moved: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bound:
    """The shortest time that one graph can take on one module.

    Attributes:
        target: name of the module's target.
        compute_ms: of the products; ``None`` where the module has no published peak for one.
        memory_ms: of the bytes.
    """

    target: str
    compute_ms: float | None
    memory_ms: float

    @property
    def bound_ms(self) -> float | None:
        """The longer of the two."""
        return None if self.compute_ms is None else max(self.compute_ms, self.memory_ms)


def graph_cost(path: Path, *, bucket: Bucket = (1, 4)) -> GraphCost:
    """Count an ONNX file's products and bytes.

    Args:
        path: of a strongly typed ``.onnx`` file.
        bucket: ``(B, N)`` for axes called ``batch`` and ``points``.

    Raises:
        BundleError: a product's shape cannot be told from the file.
    """
    import onnx

    model = onnx.load(path)
    del model.graph.value_info[:]  # notes of the exporter, with names of axes that get numbers here
    edges = (*model.graph.input, *model.graph.output)
    sizes = dict(zip(("batch", "points"), bucket, strict=True))
    for edge in edges:
        for axis in edge.type.tensor_type.shape.dim:
            if axis.dim_param in sizes:
                axis.dim_value = sizes[axis.dim_param]
    _fold_counts(model)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {v.name: v.type.tensor_type for v in (*inferred.value_info, *inferred.input)}
    types |= {v.name: v.type.tensor_type for v in inferred.output}
    shapes: dict[str, tuple[int, ...]] = {
        name: tuple(d.dim_value for d in kind.shape.dim) for name, kind in types.items()
    }
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    operations: dict[Precision, int] = {}
    makers = {name: node for node in inferred.node for name in node.output}
    for node in inferred.node:
        if node.op_type in _PRODUCTS:
            precision = _precision(node, types, makers)
            count = _operations(node, shapes, path)
            operations[precision] = operations.get(precision, 0) + count
    weights = sum(_stored_bytes(tensor) for tensor in inferred.initializer)
    crossing = sum(
        math.prod(shapes[edge.name]) * _item_bytes(edge.type.tensor_type.elem_type)
        for edge in edges
    )
    return GraphCost(operations=operations, bytes_moved=weights + crossing)


def _fold_counts(model: Any) -> None:
    """Make constants of what follows from shapes alone, such as a range over the points.

    ONNX's shape inference tells the length of a Range from constants only.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator

    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        info.name: [axis.dim_value for axis in info.type.tensor_type.shape.dim]
        for info in (*graph.value_info, *graph.input, *graph.output)
    }
    known: dict[str, Array] = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if math.prod(tensor.dims) <= _FEW and tensor.data_type != onnx.TensorProto.BFLOAT16
    }
    versions = {entry.domain: entry.version for entry in model.opset_import}
    rest = []
    for node in model.graph.node:
        feeds = {name: known[name] for name in node.input if name in known}
        if node.op_type == "Shape" and all(shapes.get(node.input[0], [0])):
            feeds = {node.input[0]: np.zeros(shapes[node.input[0]], np.bool_)}
        elif node.op_type not in _COUNTING or len(feeds) < len(node.input):
            rest.append(node)
            continue
        (value,) = ReferenceEvaluator(node, opsets=versions).run(None, feeds)
        known[node.output[0]] = value
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.asarray(value), node.output[0])
        )
    del model.graph.node[:]
    model.graph.node.extend(rest)


def bound(cost: GraphCost, target: str, *, hardware: Hardware) -> Bound:
    """The bound of a graph on a module."""
    known = all(precision in hardware.peaks for precision in cost.operations)
    seconds = sum(
        count / hardware.peaks[precision] for precision, count in cost.operations.items() if known
    )
    return Bound(
        target=target,
        compute_ms=seconds * 1e3 if known else None,
        memory_ms=cost.bytes_moved / hardware.bandwidth * 1e3,
    )


def bounds(cost: GraphCost) -> list[Bound]:
    """The bounds of a graph on every module of the table."""
    return [bound(cost, name, hardware=hardware) for name, hardware in HARDWARE.items()]


def _operations(node: Any, shapes: Mapping[str, tuple[int, ...]], path: Path) -> int:
    """Twice the multiplications of a product."""
    involved = [shapes.get(name, ()) for name in (*node.input[:2], node.output[0])]
    first, second, output = involved
    if not output or 0 in output or not first or not second:
        raise BundleError(
            f"The shape of {node.op_type} {node.name!r} in {path} cannot be told: export the "
            "bundle again with samedge."
        )
    if node.op_type == "Conv":
        return 2 * math.prod(output) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return 2 * math.prod(first) * math.prod(second[1:])
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return 2 * math.prod(output) * first[0 if transposed else 1]
    if node.op_type == "MatMul":
        return 2 * math.prod(output) * first[-1]
    return 2 * _einsum_size(node, involved)


def _einsum_size(node: Any, shapes: list[tuple[int, ...]]) -> int:
    """Size of the space that an Einsum runs over."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation")
    terms = equation.replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=False):
        sizes.update(zip(term, shape, strict=True))
    return math.prod(sizes.values())


def _precision(node: Any, types: Mapping[str, Any], makers: Mapping[str, Any]) -> Precision:
    """What a product multiplies in: int8 where both sides are dequantized."""
    import onnx

    sources = [makers.get(name) for name in node.input[:2]]
    if all(source is not None and source.op_type == "DequantizeLinear" for source in sources):
        return Precision.INT8
    kind = types[node.output[0]].elem_type
    return {
        onnx.TensorProto.FLOAT16: Precision.FP16,
        onnx.TensorProto.BFLOAT16: Precision.BF16,
    }.get(kind, Precision.FP32)


def _stored_bytes(tensor: Any) -> int:
    return int(math.prod(tensor.dims)) * _item_bytes(tensor.data_type)


def _item_bytes(kind: int) -> int:
    import onnx

    return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
