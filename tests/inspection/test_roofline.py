"""Bounds against counts that were done by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from samedge.errors import BundleError  # noqa: E402
from samedge.inspection.roofline import bound, bounds, graph_cost  # noqa: E402
from samedge.machine.hardware import HARDWARE  # noqa: E402
from samedge.types import Precision  # noqa: E402

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def save(
    folder: Path, nodes: list[Any], constants: dict[str, Any], shape: list[Any], kind: int = FLOAT
) -> Path:
    helper = onnx.helper
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info("y", kind, None)],
            initializer=[onnx.numpy_helper.from_array(v, n) for n, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 19)],
    )
    path = folder / "g.onnx"
    onnx.save(model, path)
    return path


def node(operator: str, inputs: list[str], output: str = "y", **attributes: Any) -> Any:
    return onnx.helper.make_node(operator, inputs, [output], name=f"/{operator}", **attributes)


def test_a_convolution_by_hand(tmp_path: Path) -> None:
    weight = np.zeros((8, 3, 3, 3), np.float16)
    nodes = [node("Conv", ["x", "w"], strides=[2, 2], pads=[1, 1, 1, 1])]
    cost = graph_cost(save(tmp_path, nodes, {"w": weight}, [1, 3, 16, 16], HALF))
    assert cost.operations == {Precision.FP16: 2 * (8 * 8 * 8) * 27}
    assert cost.bytes_moved == 2 * (weight.size + 3 * 16 * 16 + 8 * 8 * 8)


def test_a_depthwise_convolution_counts_its_groups(tmp_path: Path) -> None:
    weight = np.zeros((4, 1, 3, 3), np.float32)
    nodes = [node("Conv", ["x", "w"], group=4, pads=[1, 1, 1, 1])]
    cost = graph_cost(save(tmp_path, nodes, {"w": weight}, [1, 4, 8, 8]))
    assert cost.operations == {Precision.FP32: 2 * 4 * 64 * 9}


@pytest.mark.parametrize(
    ("nodes", "constants", "expected"),
    [
        ([("MatMul", ["x", "w"], {})], {"w": (6, 5)}, 2 * 3 * 4 * 5 * 6),
        ([("Einsum", ["x", "w"], {"equation": "bnc,cd->bnd"})], {"w": (6, 5)}, 2 * 3 * 4 * 5 * 6),
    ],
)
def test_products_over_dynamic_axes(
    tmp_path: Path, nodes: Any, constants: dict[str, Any], expected: int
) -> None:
    made = [node(operator, inputs, **attributes) for operator, inputs, attributes in nodes]
    arrays = {name: np.zeros(shape, np.float32) for name, shape in constants.items()}
    path = save(tmp_path, made, arrays, ["batch", "points", 6])
    assert graph_cost(path, bucket=(3, 4)).operations == {Precision.FP32: expected}


def test_a_transposed_convolution(tmp_path: Path) -> None:
    nodes = [node("ConvTranspose", ["x", "w"], strides=[2, 2])]
    weight = np.zeros((4, 3, 2, 2), np.float32)
    cost = graph_cost(save(tmp_path, nodes, {"w": weight}, [1, 4, 8, 8]))
    assert cost.operations == {Precision.FP32: 2 * 4 * 64 * 12}


def test_int8_is_what_two_dequantized_sides_multiply_in(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], "q"),
        node("DequantizeLinear", ["q", "s", "z"], "a"),
        node("DequantizeLinear", ["w", "s", "z"], "b"),
        node("MatMul", ["a", "b"]),
    ]
    constants = {"s": np.float32(1), "z": np.int8(0), "w": np.zeros((6, 5), np.int8)}
    cost = graph_cost(save(tmp_path, nodes, constants, [2, 6]))
    assert cost.operations == {Precision.INT8: 2 * 2 * 6 * 5}


def test_a_shape_that_cannot_be_told(tmp_path: Path) -> None:
    path = save(tmp_path, [node("MatMul", ["x", "x"])], {}, ["elsewhere", "else"])
    with pytest.raises(BundleError, match="shape of MatMul '/MatMul'"):
        graph_cost(path)


def test_the_bound_is_the_longer_of_compute_and_memory(tmp_path: Path) -> None:
    weight = np.zeros((256, 256), np.float16)
    path = save(tmp_path, [node("MatMul", ["x", "w"])], {"w": weight}, [4096, 256], HALF)
    cost, module = graph_cost(path), HARDWARE["jetson-agx-orin"]
    found = bound(cost, "jetson-agx-orin", hardware=module)
    assert found.compute_ms == pytest.approx(2 * 4096 * 256 * 256 / 42.6e12 * 1e3, rel=0.01)
    assert found.memory_ms == pytest.approx((2 * 4096 * 512 + 2 * 65536) / 204.8e9 * 1e3)
    assert found.bound_ms == max(found.compute_ms or 0, found.memory_ms)


def test_without_a_published_peak_there_is_no_bound(tmp_path: Path) -> None:
    weight = np.zeros((256, 256), np.float16)
    path = save(tmp_path, [node("MatMul", ["x", "w"])], {"w": weight}, [4096, 256], HALF)
    unknown = dataclasses.replace(HARDWARE["jetson-thor"], peaks={Precision.FP32: 8e12})
    found = bound(graph_cost(path), "jetson-thor", hardware=unknown)
    assert found.compute_ms is None
    assert found.bound_ms is None
    assert all(known.bound_ms is not None for known in bounds(graph_cost(path)))


@pytest.mark.parametrize(
    ("module", "precision", "published"),
    [
        ("jetson-orin-nano", Precision.INT8, 67e12 / 2),
        ("jetson-orin-nano", Precision.FP16, 17e12),
        ("jetson-orin-nano-4gb", Precision.INT8, 34e12 / 2),
        ("jetson-orin-nx", Precision.INT8, (157e12 - 80e12) / 2),  # without the DLAs
        ("jetson-orin-nx", Precision.FP16, 19e12),
        ("jetson-agx-orin", Precision.INT8, 170e12 / 2),
        ("jetson-agx-orin", Precision.FP32, 5.3e12),
        ("jetson-thor", Precision.INT8, 517e12),
        ("jetson-thor", Precision.FP16, 2070e12 / 8),  # sparse fp4 to dense fp16
    ],
)
def test_peaks_are_those_that_nvidia_publishes(
    module: str, precision: Precision, published: float
) -> None:
    assert HARDWARE[module].peaks[precision] == pytest.approx(published, rel=0.025)


def test_a_length_that_follows_from_shapes_is_known(tmp_path: Path) -> None:
    """SAM's decoder asks which of its points come before which, by a range over them."""
    make = onnx.helper.make_node
    nodes = [
        make("Shape", ["x"], ["shape"], start=1, end=2),
        make("Squeeze", ["shape", "first"], ["count"]),
        make("Range", ["zero", "count", "one"], ["range"]),
        make("Cast", ["range"], ["index"], to=FLOAT),
        make("Unsqueeze", ["index", "last"], ["column"]),
        make("Abs", ["column"], ["ranks"]),
        node("MatMul", ["ranks", "wide"]),
    ]
    constants = {
        "wide": np.zeros((1, 6), np.float32),
        "first": np.array([0]),
        "last": np.array([1]),
        "zero": np.array(0),
        "one": np.array(1),
    }
    path = save(tmp_path, nodes, constants, ["batch", "points"])
    assert graph_cost(path, bucket=(3, 4)).operations == {Precision.FP32: 2 * 4 * 6}
    written = onnx.load(path)  # with the shapes by name that an exporter noted
    for name in ("column", "ranks"):
        value = onnx.helper.make_tensor_value_info(name, FLOAT, ["points", 1])
        written.graph.value_info.append(value)
    onnx.save(written, path)
    assert graph_cost(path, bucket=(3, 4)).operations == {Precision.FP32: 2 * 4 * 6}
