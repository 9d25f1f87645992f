"""fp16 and bf16 by explicit casts in ONNX, with what would overflow left in fp32.

For platforms that compute what is written: a strongly typed TensorRT network, ONNX Runtime on GPUs.
What stays in fp32:

* arithmetic on pixels and on prompt coordinates before the first layer: half precision does not
  resolve one pixel of 1,024;
* what the range probe finds (:mod:`~samedge.calibration.ranges`; fp16 only);
* modules that the plan gives ``fp32``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from samedge.calibration.base import Converted, FeedSource, Quantizer
from samedge.calibration.modules import module_from_node
from samedge.calibration.plan import PrecisionPlan
from samedge.calibration.ranges import (
    FP16_SMALLEST_NORMAL,
    largest_magnitudes,
    unsafe_tensors,
)
from samedge.errors import CalibrationError
from samedge.types import Precision

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_POSITIONAL_ROWS = 4  # a matrix with so few rows projects coordinates: positional encoding
_QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
_HALF_SCALES_OPSET = 19  # the first in which scales, and so dequantized values, may be half
_BF16_OPSET = 22  # the first in which convolutions take bf16
_FLOAT_SLOTS: Mapping[str, frozenset[int]] = {"Resize": frozenset({1, 2})}
_NEVER = frozenset({"Constant", "ConstantOfShape", "Range", "If", "Loop", "Scan"})


class CastQuantizer(Quantizer):
    """ONNX to ONNX that computes in the plan's ``rest`` precision, fp16 or bf16."""

    name = "cast"
    packages = ("onnx", "onnxruntime")
    formats = ("onnx",)
    precisions = (Precision.FP16, Precision.BF16)

    def modules(self, source: Path) -> tuple[str, ...]:
        """Every module: any of them can be kept in fp32."""
        import onnx

        graph = onnx.load(source, load_external_data=False).graph
        found = (module_from_node(node.name) for node in graph.node)
        return tuple(dict.fromkeys(module for module in found if module))

    def _quantize(
        self, source: Path, destination: Path, *, plan: PrecisionPlan, feeds: FeedSource
    ) -> Converted:
        import onnx

        half = Precision(plan.rest)
        if half not in (Precision.FP16, Precision.BF16):
            raise CalibrationError(
                f"The plan's rest is {plan.rest!r}: casts are written for 'fp16' and 'bf16' only."
            )
        model = _loaded(source, half)
        kept = _kept(model, source, plan, feeds, half)
        low = cast_graph(model, half=half, kept=frozenset(kept))
        onnx.save_model(model, destination, save_as_external_data=model.ByteSize() > 2**31 - 2**20)
        reasons: dict[str, str] = {}
        for name, reason in kept.items():
            reasons.setdefault(module_from_node(name) or name, reason)
        modules = dict.fromkeys(module_from_node(name) for name in low)
        return Converted(destination, tuple(m for m in modules if m), reasons)


def _loaded(source: Path, half: Precision) -> Any:
    import onnx

    model = onnx.load(source)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if half is Precision.BF16 and opset < _BF16_OPSET:
        model = onnx.version_converter.convert_version(model, _BF16_OPSET)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return model


def _kept(
    model: Any, source: Path, plan: PrecisionPlan, feeds: FeedSource, half: Precision
) -> dict[str, str]:
    """Names of the nodes that stay in fp32, with the reason."""
    kept = dict.fromkeys(before_first_layer(model), "pixels or coordinates before the first layer")
    unsafe: dict[str, str] = {}
    if half is Precision.FP16:
        unsafe = unsafe_tensors(model, largest_magnitudes(source, feeds()))
    for node in model.graph.node:
        touched = [unsafe[name] for name in (*node.output, *node.input) if name in unsafe]
        if touched:
            kept.setdefault(node.name, touched[0])
        row = plan.precision_of(module_from_node(node.name))
        if row is Precision.FP32 and plan.modules:
            kept.setdefault(node.name, "the plan says fp32")
    return kept


def before_first_layer(model: Any) -> list[str]:
    """Names of the nodes whose data has met no layer yet; of what depends on constants alone, too.

    A layer is a product with a constant weight, but for the few rows that project coordinates to a
    positional encoding.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    early: set[str] = {value.name for value in model.graph.input} | set(constants) | {""}
    names = []
    for node in model.graph.node:
        if node.op_type in _QDQ or _is_layer(node, constants):
            continue
        if all(name in early for name in node.input):
            early.update(node.output)
            names.append(node.name)
    return names


def _is_layer(node: Any, constants: Mapping[str, Any]) -> bool:
    if node.op_type not in _LAYERS:
        return False
    weight = constants.get(node.input[1])
    if weight is None:
        return False
    return bool(node.op_type != "MatMul" or weight.dims[0] > _POSITIONAL_ROWS)


def cast_graph(model: Any, *, half: Precision, kept: frozenset[str]) -> list[str]:
    """Rewrite a model in place so that every node but the kept ones computes in half precision.

    Inputs and outputs of the graph keep their types.

    Args:
        model: an fp32 ``onnx.ModelProto`` whose nodes have names.
        half: fp16 or bf16.
        kept: names of the nodes that stay in fp32.

    Returns:
        Names of the nodes that compute in half precision.
    """
    return _Caster(model, half, kept).run()


@dataclasses.dataclass
class _Caster:
    """State of one rewrite: which tensors are half, and which casts exist already."""

    model: Any
    half: Precision
    kept: frozenset[str]
    half_tensors: set[str] = dataclasses.field(default_factory=set)
    casts: dict[tuple[str, bool], str] = dataclasses.field(default_factory=dict)
    nodes: list[Any] = dataclasses.field(default_factory=list)
    new_constants: list[Any] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        import onnx

        self.types = onnx.TensorProto
        self.code = self.types.FLOAT16 if self.half is Precision.FP16 else self.types.BFLOAT16
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        inferred = onnx.shape_inference.infer_shapes(self.model)
        infos = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
        kinds = {info.name: info.type.tensor_type.elem_type for info in infos}
        kinds |= {name: tensor.data_type for name, tensor in self.constants.items()}
        self.floats = {name for name, kind in kinds.items() if kind == self.types.FLOAT}
        self.outputs = {value.name for value in self.model.graph.output}

    def run(self) -> list[str]:
        """Rewrite and return the names of the half nodes."""
        graph = self.model.graph
        chosen = self._half_nodes()
        for node in list(graph.node):
            self._rewrite(node, is_half=node.name in chosen)
        del graph.node[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.new_constants)
        used = {name for node in graph.node for name in node.input} | self.outputs
        unused = [tensor for tensor in graph.initializer if tensor.name not in used]
        for tensor in unused:
            graph.initializer.remove(tensor)
        del graph.value_info[:]  # they speak of the old types
        return [node.name for node in graph.node if node.name in chosen]

    def _half_nodes(self) -> set[str]:
        """Names of the nodes that become half; Q and DQ follow the node that reads them."""
        graph = self.model.graph
        opset = next(e.version for e in self.model.opset_import if e.domain in ("", "ai.onnx"))
        readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        chosen: set[str] = set()
        for node in reversed(graph.node):
            touches = any(name in self.floats for name in (*node.input, *node.output))
            if node.op_type in _QDQ:
                following = [reader for name in node.output for reader in readers.get(name, [])]
                wanted = any(reader.name in chosen for reader in following)
                if wanted and opset >= _HALF_SCALES_OPSET and self._scale_fits(node):
                    chosen.add(node.name)
            elif touches and node.name not in self.kept and node.op_type not in _NEVER:
                chosen.add(node.name)
        return chosen

    def _scale_fits(self, node: Any) -> bool:
        import onnx

        tensor = self.constants.get(node.input[1])
        if tensor is None:
            return False
        return bool(np.abs(onnx.numpy_helper.to_array(tensor)).min() >= FP16_SMALLEST_NORMAL)

    def _rewrite(self, node: Any, *, is_half: bool) -> None:
        slots = _FLOAT_SLOTS.get(node.op_type, frozenset())
        for index, name in enumerate(node.input):
            if name in self.floats:
                node.input[index] = self._as(name, is_half=is_half and index not in slots)
        if is_half and node.op_type == "Cast":
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == self.types.FLOAT:
                    attribute.i = self.code
        self.nodes.append(node)
        if is_half:
            for index, name in enumerate(node.output):
                if name in self.floats:
                    self._mark_half(node, index, name)

    def _mark_half(self, node: Any, index: int, name: str) -> None:
        """Note that a tensor is half now; an output of the graph is cast back under its name."""
        self.half_tensors.add(name)
        if name in self.outputs:
            inner = f"{name}/{self.half.value}"
            node.output[index] = inner
            self.casts[name, True] = inner
            self.nodes.append(self._cast_node(inner, name, is_half=False))
            self.half_tensors.discard(name)

    def _as(self, name: str, *, is_half: bool) -> str:
        """The name under which a float tensor is to be had in a precision."""
        if (name in self.half_tensors) == is_half:
            return name
        if (name, is_half) not in self.casts:
            to = self.half.value if is_half else Precision.FP32.value
            cast = f"{name}/{to}"
            if name in self.constants:
                self.new_constants.append(self._half_constant(self.constants[name], cast))
            else:
                self.nodes.append(self._cast_node(name, cast, is_half=is_half))
            self.casts[name, is_half] = cast
        return self.casts[name, is_half]

    def _cast_node(self, source: str, destination: str, *, is_half: bool) -> Any:
        import onnx

        to = self.code if is_half else self.types.FLOAT
        return onnx.helper.make_node(
            "Cast", [source], [destination], name=f"{destination}/Cast", to=to
        )

    def _half_constant(self, tensor: Any, name: str) -> Any:
        import onnx

        values = onnx.numpy_helper.to_array(tensor)
        if self.half is Precision.FP16:
            limit = float(np.finfo(np.float16).max)
            return onnx.numpy_helper.from_array(
                np.clip(values, -limit, limit).astype(np.float16), name
            )
        return onnx.helper.make_tensor(
            name, self.types.BFLOAT16, values.shape, _bf16_bits(values).tobytes(), raw=True
        )


def _bf16_bits(values: Any) -> Any:
    """The upper halves of fp32 values, rounded to nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


QUANTIZER = CastQuantizer()
