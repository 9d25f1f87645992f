"""Small ONNX graphs whose trouble in low precision is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from samedge.types import Array

SIDE = 16


def save(path: Path, nodes: Sequence[Any], constants: dict[str, Array], output: str) -> Path:
    """An opset 17 graph from ``image`` (1, S, S, 3) uint8 to ``output``."""
    graph = helper.make_graph(
        list(nodes),
        "toy",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [1, 8, SIDE, SIDE])],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def residual(path: Path) -> Path:
    """Normalisation, a convolution, a residual block of two more, and a projection."""
    random = np.random.default_rng(0)

    def weights(*shape: int) -> Array:
        fan = np.prod(shape[1:])
        return np.asarray(random.normal(0, fan**-0.5, shape), np.float32)

    nodes = [
        *start(),
        conv("x", "stem", "/encoder/stem/Conv"),
        helper.make_node("Relu", ["stem"], ["a"], name="/encoder/Relu"),
        conv("a", "b1", "/encoder/blocks.0/blocks.0.0/Conv"),
        helper.make_node("Relu", ["b1"], ["b2"], name="/encoder/blocks.0/Relu"),
        conv("b2", "b3", "/encoder/blocks.0/blocks.0.1/Conv"),
        helper.make_node("Add", ["a", "b3"], ["c"], name="/encoder/blocks.0/Add"),
        conv("c", "image_embeddings", "/encoder/neck/Conv"),
    ]
    constants = start_constants()
    for name, shape in {
        "stem": (8, 3, 3, 3),
        "b1": (16, 8, 3, 3),
        "b3": (8, 16, 3, 3),
        "image_embeddings": (8, 8, 3, 3),
    }.items():
        constants[f"{name}_w"] = weights(*shape)
        constants[f"{name}_b"] = np.asarray(random.normal(0, 0.1, shape[0]), np.float32)
    return save(path, nodes, constants, "image_embeddings")


def start() -> list[Any]:
    """From bytes to a normalised image in (1, 3, S, S)."""
    return [
        helper.make_node("Cast", ["image"], ["f"], name="/normalize/Cast", to=1),
        helper.make_node("Sub", ["f", "mean"], ["d"], name="/normalize/Sub"),
        helper.make_node("Div", ["d", "std"], ["n"], name="/normalize/Div"),
        helper.make_node("Transpose", ["n"], ["x"], name="/Transpose", perm=[0, 3, 1, 2]),
    ]


def start_constants() -> dict[str, Array]:
    return {
        "mean": np.asarray([123.7, 116.3, 103.5], np.float32),
        "std": np.asarray([58.4, 57.1, 57.4], np.float32),
    }


def conv(source: str, destination: str, name: str) -> Any:
    return helper.make_node(
        "Conv",
        [source, f"{destination}_w", f"{destination}_b"],
        [destination],
        name=name,
        pads=[1, 1, 1, 1],
    )


def feeds(count: int = 4) -> Iterator[dict[str, Array]]:
    random = np.random.default_rng(1)
    for _ in range(count):
        yield {"image": random.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)}


def run(path: Path, feed: dict[str, Array]) -> Array:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])
