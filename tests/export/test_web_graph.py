"""Depthwise convolutions as blocks of rows: the same numbers, by another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from samedge.export.web_graph import block_depthwise, max_for_relu, stacked_kernel
from samedge.types import Array

CHANNELS = 6


def graph_of(
    kernel: Array, size: tuple[int, int], *, strides: tuple[int, int] = (1, 1), **attributes: Any
) -> Any:
    """One convolution with a bias, padded as networks pad, after which something follows."""
    edge = [(length - 1) // 2 for length in kernel.shape[2:]]
    rng = np.random.default_rng(1)
    bias = rng.normal(size=(kernel.shape[0],)).astype(np.float32)
    given = {"pads": [*edge, *edge], "strides": strides, "group": CHANNELS, **attributes}
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["convolved"], **given),
        helper.make_node("Relu", ["convolved"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def run(model: Any, x: Array) -> Array:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def kernel_of(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("side", [5, 7])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("size", [(32, 32), (24, 20)])
def test_a_depthwise_convolution_gives_the_same(
    side: int, strides: tuple[int, int], size: tuple[int, int]
) -> None:
    model = graph_of(kernel_of(CHANNELS, 1, side, side), size, strides=strides)
    x = np.random.default_rng(2).normal(size=(1, CHANNELS, *size)).astype(np.float32)
    before = run(model, x)
    width = before.shape[3]
    assert block_depthwise(model) == int(width >= 16)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[:2] == ["Conv", "Relu"]  # side by side, which the library computes as one
    assert len(kinds) == (5 if width >= 16 else 2)
    after = run(model, x)
    assert after.shape == before.shape
    assert np.abs(after - before).max() <= 1e-4
    names = {tensor.name for tensor in model.graph.initializer}
    assert ("kernel" in names) is (width < 16)  # what nothing reads is gone


def test_an_activation_goes_with_it_only_where_nothing_else_reads_the_convolution() -> None:
    model = graph_of(kernel_of(CHANNELS, 1, 5, 5), (32, 32))
    model.graph.node.append(helper.make_node("Add", ["convolved", "y"], ["sum"]))
    model.graph.output[0].name = "sum"
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    x = np.random.default_rng(2).normal(size=(1, CHANNELS, 32, 32)).astype(np.float32)
    before = run(model, x)
    assert block_depthwise(model) == 1
    assert [node.op_type for node in model.graph.node][-2:] == ["Relu", "Add"]
    assert np.abs(run(model, x) - before).max() <= 1e-4


@pytest.mark.parametrize(
    ("kernel", "size", "attributes"),
    [
        (kernel_of(CHANNELS, 1, 3, 3), (32, 32), {}),
        (kernel_of(CHANNELS, CHANNELS, 5, 5), (32, 32), {"group": 1}),
        (kernel_of(2 * CHANNELS, 1, 5, 5), (32, 32), {}),  # two outputs a channel
        (kernel_of(CHANNELS, 1, 5, 5), (32, 32), {"dilations": (2, 2)}),
        (kernel_of(CHANNELS, 1, 5, 5), (33, 32), {}),  # no block of rows divides the height
        (kernel_of(CHANNELS, 1, 5, 5), (8, 8), {}),
    ],
)
def test_what_is_none_stays(
    kernel: Array, size: tuple[int, int], attributes: dict[str, Any]
) -> None:
    model = graph_of(kernel, size, **attributes)
    before = model.SerializeToString()
    assert block_depthwise(model) == 0
    assert model.SerializeToString() == before


def test_a_relu_alone_becomes_a_maximum_and_one_behind_a_convolution_stays() -> None:
    model = graph_of(kernel_of(CHANNELS, 1, 3, 3), (32, 32))
    more = [
        helper.make_node("Mul", ["y", "x"], ["product"]),
        helper.make_node("Relu", ["product"], ["alone"]),
        helper.make_node("Conv", ["x", "kernel", "bias"], ["other"], group=CHANNELS, pads=[1] * 4),
        helper.make_node("Add", ["alone", "other"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["behind"]),
    ]
    model.graph.node.extend(more)
    model.graph.output[0].name = "behind"
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    x = np.random.default_rng(2).normal(size=(1, CHANNELS, 32, 32)).astype(np.float32)
    before = run(model, x)
    assert max_for_relu(model) == 1
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["Conv", "Relu", "Mul", "Max", "Conv", "Add", "Relu"]
    assert np.array_equal(run(model, x), before)


def test_a_stacked_kernel_holds_the_old_one_once_a_row() -> None:
    kernel = kernel_of(2, 1, 3, 5)
    tall = stacked_kernel(kernel, 4, stride=2).reshape(2, 4, 9, 5)
    for row in range(4):
        assert np.array_equal(tall[:, row, 2 * row : 2 * row + 3], kernel[:, 0])
    assert np.count_nonzero(tall) == 4 * kernel.size
