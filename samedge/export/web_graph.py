"""Exact rewrites of ONNX graphs for ONNX Runtime Web."""

from __future__ import annotations

from typing import Any

import numpy as np

from samedge.types import Array

_ROWS = (8, 4, 2)  # of a block, the first that divides the height
_LEAST_WIDTH = 16  # px: a narrower picture has too few columns for a product to pay


def block_depthwise(model: Any) -> int:
    """Write depthwise convolutions so that WebAssembly multiplies matrices for them.

    The library has no code of its own for them there: each channel is unfolded and multiplied by
    one row of weights, which leaves three of the four rows that its product works on empty, and the
    unfolding takes longer than the product. Here a channel gives several rows of the picture at
    once, as channels of a convolution with a taller stride, whose kernel holds the old one once a
    row with zeros around it. The sums are the same, of the same numbers in the same order.

    Args:
        model: an ``onnx.ModelProto`` of fixed shapes; changed in place.

    Returns:
        How many were rewritten.
    """
    import onnx

    shapes = _shapes(onnx.shape_inference.infer_shapes(model, strict_mode=True).graph)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, count = [], 0
    for node in model.graph.node:
        made = _blocked(node, shapes, weights=weights, graph=model.graph)
        count += bool(made)
        nodes += made or [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unread(model.graph)
    return count


def _shapes(graph: Any) -> dict[str, list[int]]:
    values = (*graph.input, *graph.output, *graph.value_info)
    return {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in values
    }


def _blocked(node: Any, shapes: dict[str, list[int]], *, weights: Any, graph: Any) -> list[Any]:
    """The nodes in the place of one; none where it stays."""
    import onnx

    if node.op_type != "Conv" or node.input[1] not in weights:
        return []
    given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    kernel = onnx.numpy_helper.to_array(weights[node.input[1]])
    shape = shapes.get(node.output[0], [])
    is_plain = given.get("auto_pad", b"NOTSET") == b"NOTSET" and not any(
        step != 1 for step in given.get("dilations", ())
    )
    is_depthwise = kernel.shape[:2] == (given.get("group", 1), 1) and kernel.shape[0] > 1
    if not (is_plain and is_depthwise and kernel.ndim == 4 and len(shape) == 4):
        return []
    rows = next((rows for rows in _ROWS if shape[2] % rows == 0), 1)
    if rows == 1 or shape[0] != 1 or shape[3] < _LEAST_WIDTH:
        return []
    return _Block(node, graph).nodes(kernel, shape, rows=rows, given=given)


class _Block:
    """What takes the place of one convolution."""

    def __init__(self, node: Any, graph: Any) -> None:
        self._node, self._graph = node, graph
        self._name = node.output[0]

    def nodes(
        self, kernel: Array, shape: list[int], *, rows: int, given: dict[str, Any]
    ) -> list[Any]:
        import onnx

        down, across = given.get("strides", (1, 1))
        tall = stacked_kernel(kernel, rows, stride=down)
        inputs = [self._node.input[0], self._constant("kernel", tall)]
        if len(self._node.input) > 2:
            inputs.append(self._repeated(self._node.input[2], rows))
        _, channels, height, width = shape
        apart = np.array([channels, rows, height // rows, width], np.int64)
        make, whole = onnx.helper.make_node, np.array(shape, np.int64)
        blocks, split, turned = (f"{self._name}/{what}" for what in ("blocks", "split", "turned"))
        return [
            make(
                "Conv",
                inputs,
                [blocks],
                name=blocks,
                group=channels,
                kernel_shape=list(tall.shape[2:]),
                pads=list(given.get("pads", (0, 0, 0, 0))),
                strides=[down * rows, across],
            ),
            make("Reshape", [blocks, self._constant("apart", apart)], [split], name=split),
            make("Transpose", [split], [turned], name=turned, perm=[0, 2, 1, 3]),
            make(
                "Reshape",
                [turned, self._constant("whole", whole)],
                [self._name],
                name=f"{self._name}/rows",
            ),
        ]

    def _constant(self, what: str, values: Array) -> str:
        import onnx

        name = f"{self._name}/{what}"
        self._graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        return name

    def _repeated(self, bias: str, rows: int) -> str:
        import onnx

        (found,) = (one for one in self._graph.initializer if one.name == bias)
        return self._constant("bias", np.repeat(onnx.numpy_helper.to_array(found), rows))


def stacked_kernel(kernel: Array, rows: int, *, stride: int) -> Array:
    """A kernel that gives several rows at once.

    Args:
        kernel: (C, 1, h, w) of a depthwise convolution.
        rows: that it is to give.
        stride: from one row of its output to the next, rows of its input.

    Returns:
        (C * rows, 1, h + stride * (rows - 1), w).
    """
    channels, _, height, width = kernel.shape
    tall = np.zeros((channels, rows, height + stride * (rows - 1), width), kernel.dtype)
    for row in range(rows):
        tall[:, row, stride * row : stride * row + height] = kernel[:, 0]
    return tall.reshape(channels * rows, 1, *tall.shape[2:])


def _drop_unread(graph: Any) -> None:
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
