"""What an ONNX graph must keep to, so that TensorRT 10 and 11 and TensorRT for RTX build it right.

TensorRT 11 only knows strongly typed networks: precisions stand in the file as Casts and
QuantizeLinear/DequantizeLinear pairs. Its parser refuses some graphs with a message that names no
module, and takes others only to compute slowly or to crash. These checks say beforehand which rule
is broken, at which node and in which module.

Sources: NVIDIA's TensorRT documentation on strongly typed networks and on explicit quantization;
the parser's own behaviour, as tests of this repository show it with TensorRT for RTX 1.7.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from samedge.calibration.modules import module_from_node
from samedge.errors import ExportError
from samedge.export.tensorrt_graph import QUANTIZED_PRODUCTS
from samedge.export.tensorrt_view import OnnxView

_SHOWN = 5
_MAX_RANK = 8
_DATA_DEPENDENT = frozenset(
    {"NonZero", "Unique", "Compress", "Loop", "If", "Scan", "NonMaxSuppression"}
)
_ATTENTION_SOURCES = 3
_PROFILED_AXES = frozenset({"batch", "points"})
_ONE_TYPE: Mapping[str, slice] = MappingProxyType(
    {name: slice(None) for name in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Concat", "Einsum")}
    | {name: slice(None) for name in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Clip", "PRelu")}
    | {"Where": slice(1, None), "LayerNormalization": slice(None)}
)
"""Operators whose inputs have one type, and which of the inputs that is."""
_SCALE, _ZERO_POINT = 1, 2


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule.

    Attributes:
        rule: its name, one of :data:`RULES`.
        node: name of the node, or of the tensor.
        operator: the node's type, empty for a tensor of the graph's edge.
        module: dotted path of the module that the node comes from, empty when it is not known.
        detail: what is there, and what was expected.
    """

    rule: str
    node: str
    operator: str
    module: str
    detail: str

    def __str__(self) -> str:
        where = f" in module {self.module!r}" if self.module else ""
        return f"[{self.rule}] {self.operator or 'tensor'} {self.node!r}{where}: {self.detail}"


Rule = Callable[[OnnxView], Iterator[Violation]]


def violations(model: Any) -> list[Violation]:
    """Every broken rule of a graph, in the order of :data:`RULES`.

    Args:
        model: an ``onnx.ModelProto``.
    """
    view = OnnxView(model)
    return [found for rule in RULES.values() for found in rule(view)]


def check(model: Any, *, role: str) -> None:
    """Refuse a graph that breaks a rule.

    Args:
        model: an ``onnx.ModelProto``.
        role: what the graph is in a bundle, for the message.

    Raises:
        ExportError: the message names rules, nodes and modules.
    """
    found = violations(model)
    if not found:
        return
    listed = "; ".join(str(violation) for violation in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise ExportError(f"The {role} breaks {len(found)} rules of TensorRT: {listed}{more}.")


def _violation(rule: str, node: Any, detail: str) -> Violation:
    name = node.name or node.output[0]
    return Violation(rule, name, node.op_type, module_from_node(name), detail)


def _standard_operators(view: OnnxView) -> Iterator[Violation]:
    """No operators outside of ONNX: the parser would look for a plug-in."""
    for node in view.nodes:
        if node.domain not in ("", "ai.onnx"):
            yield _violation(
                "standard-operators", node, f"is of domain {node.domain!r}, expected ONNX's own"
            )


def _static_control(view: OnnxView) -> Iterator[Violation]:
    """Nothing whose output shape hangs on values: no engine profile, no CUDA graph."""
    for node in view.of_type(*_DATA_DEPENDENT):
        yield _violation(
            "static-control", node, "makes shapes from values, expected arithmetic on all elements"
        )


def _no_shape_inputs(view: OnnxView) -> Iterator[Violation]:
    """No integer inputs besides bytes: they would be shape tensors or run in int32."""
    import onnx

    for tensor in view.model.graph.input:
        kind = tensor.type.tensor_type.elem_type
        if kind in (onnx.TensorProto.INT32, onnx.TensorProto.INT64):
            name = onnx.TensorProto.DataType.Name(kind)
            yield Violation(
                "no-shape-inputs",
                tensor.name,
                "",
                "",
                f"is an input of type {name}, expected float or uint8: sizes belong to the host",
            )


def _profiled_axes(view: OnnxView) -> Iterator[Violation]:
    """Axes of inputs are fixed, or those that the bundle's prompt buckets give sizes to."""
    for tensor in view.model.graph.input:
        for axis, size in enumerate(tensor.type.tensor_type.shape.dim):
            if size.dim_value <= 0 and size.dim_param not in _PROFILED_AXES:
                name = size.dim_param or "without a name"
                known = " or ".join(sorted(_PROFILED_AXES))
                yield Violation(
                    "profiled-axes",
                    tensor.name,
                    "",
                    "",
                    f"has a dynamic axis {axis} ({name}), expected a fixed size, {known}",
                )


def _one_type(view: OnnxView) -> Iterator[Violation]:
    """Inputs of a node have one type: a strongly typed network casts nothing by itself."""
    import onnx

    for node in view.of_type(*_ONE_TYPE):
        inputs = [view.types.get(name) for name in node.input[_ONE_TYPE[node.op_type]] if name]
        known = {kind for kind in inputs if kind and kind != onnx.TensorProto.DOUBLE}
        kinds = sorted(onnx.TensorProto.DataType.Name(kind) for kind in known)
        if len(kinds) > 1:
            yield _violation("one-type", node, f"reads {' and '.join(kinds)}, expected one type")


def _bytes_are_cast(view: OnnxView) -> Iterator[Violation]:
    """Bytes at the edge go straight into a Cast: no layer of TensorRT computes on uint8."""
    import onnx

    for tensor in view.model.graph.input:
        if tensor.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
            continue
        for node in view.consumers.get(tensor.name, []):
            if node.op_type != "Cast":
                yield _violation(
                    "bytes-are-cast", node, f"reads uint8 input {tensor.name!r}, expected a Cast"
                )


def _rank(view: OnnxView) -> Iterator[Violation]:
    """At most eight axes."""
    for tensor in (*view.model.graph.value_info, *view.model.graph.output):
        rank = len(tensor.type.tensor_type.shape.dim)
        if rank > _MAX_RANK:
            yield Violation(
                "rank", tensor.name, "", "", f"has {rank} axes, expected at most {_MAX_RANK}"
            )


def _no_double(view: OnnxView) -> Iterator[Violation]:
    """No float64: TensorRT has none."""
    import onnx

    for node in view.of_type("Cast"):
        if any(a.name == "to" and a.i == onnx.TensorProto.DOUBLE for a in node.attribute):
            yield _violation("no-double", node, "casts to float64, expected float32 or float16")
    for name, tensor in view.constants.items():
        if tensor.data_type == onnx.TensorProto.DOUBLE:
            yield Violation("no-double", name, "", "", "is float64, expected float32 or float16")


def _distinct_attention(view: OnnxView) -> Iterator[Violation]:
    """No Attention on one tensor three times: the parser of TensorRT for RTX 1.7 crashes on it."""
    for node in view.of_type("Attention"):
        sources = list(node.input[:_ATTENTION_SOURCES])
        if len(set(sources)) == 1:
            yield _violation(
                "distinct-attention",
                node,
                f"reads {sources[0]!r} as query, key and value, expected three tensors",
            )


def _zero_zero_points(view: OnnxView) -> Iterator[Violation]:
    """Symmetric int8 alone: zero points are int8 zeros."""
    import onnx
    from onnx import numpy_helper

    for node in view.of_type("QuantizeLinear", "DequantizeLinear"):
        name = node.input[_ZERO_POINT] if len(node.input) > _ZERO_POINT else ""
        if not name:
            if node.op_type == "QuantizeLinear":
                yield _violation(
                    "zero-points", node, "has no zero point and so makes uint8, expected int8 zeros"
                )
            continue
        tensor = view.constants.get(name)
        if tensor is None:
            yield _violation("zero-points", node, "computes its zero point, expected a constant")
        elif tensor.data_type != onnx.TensorProto.INT8:
            kind = onnx.TensorProto.DataType.Name(tensor.data_type)
            yield _violation("zero-points", node, f"has zero point of type {kind}, expected INT8")
        elif numpy_helper.to_array(tensor).any():
            yield _violation("zero-points", node, "has a zero point other than 0, expected 0")


def _int8_storage(view: OnnxView) -> Iterator[Violation]:
    """Quantized constants are int8: no int32 biases, nothing unsigned, no four bits."""
    import onnx

    for node in view.of_type("DequantizeLinear"):
        tensor = view.constants.get(node.input[0])
        if tensor is not None and tensor.data_type != onnx.TensorProto.INT8:
            kind = onnx.TensorProto.DataType.Name(tensor.data_type)
            yield _violation(
                "int8-storage", node, f"reads a constant of type {kind}, expected INT8"
            )


def _channel_scales(view: OnnxView) -> Iterator[Violation]:
    """Weights have one scale a channel: one scale for all loses accuracy for nothing."""
    for node in view.of_type(*QUANTIZED_PRODUCTS):
        for name in node.input[1:2]:
            if not (view.made_by(name, "DequantizeLinear") and view.is_constant(name)):
                continue
            dequantize = view.producers[name]
            scale = view.constants.get(dequantize.input[_SCALE])
            if scale is None or len(scale.dims) != 1:
                yield _violation(
                    "channel-scales", dequantize, "scales a weight as a whole, expected per channel"
                )


def _pairs(view: OnnxView) -> Iterator[Violation]:
    """Nothing but DequantizeLinear reads what QuantizeLinear makes."""
    outputs = {tensor.name for tensor in view.model.graph.output}
    for node in view.of_type("QuantizeLinear"):
        readers = view.consumers.get(node.output[0], [])
        strangers = [reader.op_type for reader in readers if reader.op_type != "DequantizeLinear"]
        if strangers or node.output[0] in outputs or not readers:
            what = ", ".join(sorted(set(strangers))) or "nobody"
            yield _violation("pairs", node, f"is read by {what}, expected DequantizeLinear")


def _float_residuals(view: OnnxView) -> Iterator[Violation]:
    """Residual additions stay in float: quantizing both sides costs 2.6 dB and gains nothing."""
    for node in view.of_type("Add"):
        sources = [name for name in node.input if not view.is_constant(name)]
        if len(sources) > 1 and all(view.made_by(name, "DequantizeLinear") for name in sources):
            yield _violation("float-residuals", node, "adds two quantized tensors, expected float")


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "standard-operators": _standard_operators,
        "static-control": _static_control,
        "no-shape-inputs": _no_shape_inputs,
        "profiled-axes": _profiled_axes,
        "bytes-are-cast": _bytes_are_cast,
        "rank": _rank,
        "no-double": _no_double,
        "one-type": _one_type,
        "distinct-attention": _distinct_attention,
        "zero-points": _zero_zero_points,
        "int8-storage": _int8_storage,
        "channel-scales": _channel_scales,
        "pairs": _pairs,
        "float-residuals": _float_residuals,
    }
)
"""The rules by name."""
