"""An ONNX graph with its tensors and nodes by name, as the rules for TensorRT look at it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any


class OnnxView:
    """An ``onnx.ModelProto`` with its tensors and nodes by name.

    Args:
        model: the graph.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.opsets = {entry.domain for entry in model.opset_import}

    @cached_property
    def constants(self) -> dict[str, Any]:
        """``TensorProto`` by name: initializers and outputs of Constant nodes."""
        found = {tensor.name: tensor for tensor in self.model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant":
                values = [a.t for a in node.attribute if a.name == "value"]
                found.update(dict.fromkeys(node.output, values[0]) if values else {})
        return found

    @cached_property
    def producers(self) -> dict[str, Any]:
        """The node that makes a tensor."""
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def consumers(self) -> dict[str, list[Any]]:
        """The nodes that read a tensor."""
        found: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def types(self) -> dict[str, int]:
        """Element type of every tensor whose type can be told, from the nodes alone."""
        import onnx

        graph = self.model.graph
        known = [
            onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
            for name, tensor in self.constants.items()
        ]
        # Without the weights themselves, which may be past the 2 GB of one message.
        bare = onnx.helper.make_graph(graph.node, "types", [*graph.input, *known], graph.output)
        model = onnx.helper.make_model(bare, opset_imports=self.model.opset_import)
        inferred = onnx.shape_inference.infer_shapes(model).graph
        infos = (*inferred.input, *inferred.value_info)
        return {info.name: info.type.tensor_type.elem_type for info in infos}

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is the same in every run, itself or before quantization."""
        if name in self.constants:
            return True
        node = self.producers.get(name)
        quantized = node is not None and node.op_type in ("QuantizeLinear", "DequantizeLinear")
        return quantized and self.is_constant(node.input[0])  # type: ignore[union-attr]

    def of_type(self, *operators: str) -> Iterator[Any]:
        """The nodes of some types."""
        return (node for node in self.nodes if node.op_type in operators)

    def made_by(self, name: str, operator: str) -> bool:
        """Whether a tensor comes out of a node of this type."""
        node = self.producers.get(name)
        return node is not None and node.op_type == operator
