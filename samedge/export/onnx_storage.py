"""Weights that lie on a grid of 256 steps, kept in an ONNX file as bytes without any loss.

A model whose weights were 8 bits wide before computes in float all the same; only its file is a
quarter of the size. Runtimes turn the bytes back into floats when they load the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from samedge.types import Array

_FEWEST = 1024  # numbers: a smaller tensor is not worth a node
_LEVELS = 256
_PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})


def store_bytes(model: Any) -> int:
    """Turn a model's weights into bytes where that changes none of them.

    Args:
        model: an ``onnx.ModelProto``; changed in place.

    Returns:
        How many tensors were turned.
    """
    import onnx

    graph = model.graph
    weights = {node.input[1] for node in graph.node if node.op_type in _PRODUCTS}
    turned = 0
    for tensor in list(graph.initializer):
        if tensor.name not in weights or tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        grid = exact_grid(values) if values.size >= _FEWEST else None
        if grid is None:
            continue
        _replace(graph, tensor, *grid)
        turned += 1
    return turned


def exact_grid(values: Array) -> tuple[Array, np.float32, np.uint8] | None:
    """Bytes, scale and zero point that give float32 values back to the bit; ``None``: none do."""
    distinct = np.unique(values).astype(np.float64)
    if not 2 < len(distinct) <= _LEVELS:
        return None
    step = float(np.diff(distinct).min())
    # The mean over the whole span rounds less than one difference.
    count = round((distinct[-1] - distinct[0]) / step)
    if not 1 < count < _LEVELS:
        return None
    spans = {step, (distinct[-1] - distinct[0]) / count}
    for scale in (np.float32(candidate) for candidate in spans):
        for candidate in (
            scale,
            np.nextafter(scale, np.float32(0)),
            np.nextafter(scale, np.float32(1)),
        ):
            zero = round(-distinct[0] / float(candidate))
            if not 0 <= zero < _LEVELS:
                continue
            found = np.clip(np.rint(values / candidate + zero), 0, _LEVELS - 1)
            back = (found.astype(np.float32) - np.float32(zero)) * candidate
            if np.array_equal(back, values):
                return found.astype(np.uint8), candidate, np.uint8(zero)
    return None


def _replace(graph: Any, tensor: Any, values: Array, scale: np.float32, zero: np.uint8) -> None:
    """Put bytes, and the arithmetic that turns them back, in the place of a tensor.

    Not ``DequantizeLinear``: runtimes fold plain arithmetic on constants when they load a file, and
    take the other for a quantized model, whose products they may do in integers.
    """
    import onnx

    name = tensor.name
    constants = {f"{name}_bytes": values, f"{name}_zero": np.float32(zero), f"{name}_scale": scale}
    graph.initializer.remove(tensor)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(array), part) for part, array in constants.items()
    )
    stored, origin, step = constants
    make, wide, centred = onnx.helper.make_node, f"{name}_wide", f"{name}_centred"
    nodes = [
        make("Cast", [stored], [wide], to=onnx.TensorProto.FLOAT),
        make("Sub", [wide, origin], [centred]),
        make("Mul", [centred, step], [name]),
    ]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
