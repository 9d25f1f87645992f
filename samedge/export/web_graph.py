"""Exact rewrites of ONNX graphs for ONNX Runtime Web."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from samedge.types import Array

_ROWS = (8, 4, 2)  # of a block, the first that divides the height
_LEAST_KERNEL = 5  # rows; for 3 x 3 the plain convolution is the faster one
_TALL = 7  # rows of a kernel from which on eight at once cost less than four, zeros and all
_ACTIVATIONS = ("Relu", "Clip")
_PRODUCTS = ("Conv", "Gemm")
_ZERO = "samedge/zero"
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

    graph = model.graph
    shapes = _shapes(onnx.shape_inference.infer_shapes(model, strict_mode=True).graph)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = _readers(graph)
    nodes, taken, count = list[Any](), set[str](), 0
    for node in graph.node:
        rows = _rows(node, shapes, constants)
        if rows:
            follower = _activation(node, readers, constants=constants)
            block = _Block(node, graph, constants=constants)
            nodes += block.nodes(shapes[node.output[0]], rows=rows, activation=follower)
            taken.update(follower.output if follower else ())
            count += 1
        elif node.output[0] not in taken:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unread(graph)
    return count


def max_for_relu(model: Any) -> int:
    """Write the ReLUs that the library computes by themselves as a maximum with zero.

    In WebAssembly its own takes six times as long as a sum of the same size, and its maximum no
    longer than that. One behind a convolution or a product, with a sum between them or without,
    stays: the library computes both at once.

    Args:
        model: an ``onnx.ModelProto``; changed in place.

    Returns:
        How many were rewritten.
    """
    import onnx

    graph = model.graph
    readers, makers = _readers(graph), {name: node for node in graph.node for name in node.output}
    lone = [
        node for node in graph.node if node.op_type == "Relu" and not _fused(node, readers, makers)
    ]
    for node in lone:
        node.op_type = "Max"
        node.input.append(_ZERO)
    if lone:
        graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((), np.float32), _ZERO))
    return len(lone)


def _fused(node: Any, readers: dict[str, list[Any]], makers: Mapping[str, Any]) -> bool:
    """Whether the library computes a node with what comes before it."""
    before = makers.get(node.input[0])
    if before is None or len(readers[node.input[0]]) > 1:
        return False
    if before.op_type != "Add":
        return before.op_type in _PRODUCTS
    sums = [makers.get(name) for name in before.input if len(readers[name]) == 1]
    return any(one is not None and one.op_type == "Conv" for one in sums)


def _shapes(graph: Any) -> dict[str, list[int]]:
    values = (*graph.input, *graph.output, *graph.value_info)
    return {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in values
    }


def _readers(graph: Any) -> dict[str, list[Any]]:
    """Who reads a tensor; the graph itself, as ``None``, its outputs."""
    readers: dict[str, list[Any]] = {value.name: [None] for value in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _rows(node: Any, shapes: dict[str, list[int]], constants: Mapping[str, Any]) -> int:
    """Of the output that a block is to have; 0 where a node stays as it is."""
    import onnx

    if node.op_type != "Conv" or any(name not in constants for name in node.input[1:]):
        return 0
    given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    kernel, shape = list(constants[node.input[1]].dims), shapes.get(node.output[0], [])
    is_plain = given.get("auto_pad", b"NOTSET") == b"NOTSET"
    is_plain = is_plain and all(step == 1 for step in given.get("dilations", ()))
    is_depthwise = kernel[0] > 1 and kernel[:2] == [given.get("group", 1), 1]
    if not (is_plain and is_depthwise and len(kernel) == len(shape) == 4):
        return 0
    if shape[0] != 1 or shape[3] < _LEAST_WIDTH or kernel[2] < _LEAST_KERNEL:
        return 0
    most = _ROWS[0] if kernel[2] >= _TALL else _ROWS[1]
    return next((rows for rows in _ROWS if rows <= most and shape[2] % rows == 0), 0)


def _activation(node: Any, readers: dict[str, list[Any]], *, constants: Mapping[str, Any]) -> Any:
    """The activation that alone reads a convolution: the library computes it with it."""
    found = readers.get(node.output[0], [])
    if len(found) != 1 or found[0] is None or found[0].op_type not in _ACTIVATIONS:
        return None
    is_plain = all(not name or name in constants for name in found[0].input[1:])
    return found[0] if is_plain else None


class _Block:
    """What takes the place of one convolution, and of the activation behind it."""

    def __init__(self, node: Any, graph: Any, *, constants: Mapping[str, Any]) -> None:
        self._node, self._graph, self._constants = node, graph, constants
        self._name = node.output[0]

    def nodes(self, shape: list[int], *, rows: int, activation: Any) -> list[Any]:
        """A convolution that gives ``rows`` of the output at once, and its rows in their order.

        Args:
            shape: of the output, (1, C, H, W).
            rows: a divisor of H.
            activation: the node behind it that goes with it, or ``None``.
        """
        import onnx

        make = onnx.helper.make_node
        _, channels, height, width = shape
        apart = self._constant("apart", [channels, rows, height // rows, width])
        split, turned = f"{self._name}/split", f"{self._name}/turned"
        made = [self._convolution(rows)]
        result = self._name
        if activation is not None:
            acted, result = f"{self._name}/acted", activation.output[0]
            moved = onnx.NodeProto()
            moved.CopyFrom(activation)
            moved.name, moved.input[0], moved.output[0] = acted, made[0].output[0], acted
            made.append(moved)
        return [
            *made,
            make("Reshape", [made[-1].output[0], apart], [split], name=split),
            make("Transpose", [split], [turned], name=turned, perm=[0, 2, 1, 3]),
            make(
                "Reshape",
                [turned, self._constant("whole", shape)],
                [result],
                name=f"{self._name}/rows",
            ),
        ]

    def _convolution(self, rows: int) -> Any:
        import onnx

        given = {one.name: onnx.helper.get_attribute_value(one) for one in self._node.attribute}
        down, across = given.get("strides", (1, 1))
        kernel, *bias = (self._values(name) for name in self._node.input[1:])
        tall = stacked_kernel(kernel, rows, stride=down)
        inputs = [self._node.input[0], self._constant("kernel", tall)]
        inputs += [self._constant("bias", np.repeat(one, rows)) for one in bias]
        name = f"{self._name}/blocks"
        return onnx.helper.make_node(
            "Conv",
            inputs,
            [name],
            name=name,
            group=len(kernel),
            kernel_shape=list(tall.shape[2:]),
            pads=list(given.get("pads", (0, 0, 0, 0))),
            strides=[down * rows, across],
        )

    def _values(self, name: str) -> Array:
        import onnx

        return np.asarray(onnx.numpy_helper.to_array(self._constants[name]))

    def _constant(self, what: str, values: Array | list[int]) -> str:
        import onnx

        name = f"{self._name}/{what}"
        self._graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name


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
