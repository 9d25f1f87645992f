"""What each quantizer writes, on graphs small enough to look into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.calibration import base
from samedge.calibration.modules import module_from_node
from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.errors import CalibrationError, UnknownNameError
from samedge.types import Array
from tests.calibration import graphs

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

INT8 = PrecisionPlan()
KEEP_BLOCKS = PrecisionPlan(modules=[PlanRow(module="encoder.blocks.0", precision="fp32")])
QDQ = ("qdq", "qdq_unsigned")


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graphs.residual(tmp_path_factory.mktemp("graphs") / "residual.onnx")


def snr(reference: Array, measured: Array) -> float:
    error = np.square(reference - measured).mean()
    return float(10 * np.log10(np.square(reference).mean() / max(error, 1e-30)))


def test_quantizers_are_files() -> None:
    assert {"cast", "nncf", "qdq", "qdq_unsigned"} <= set(base.names())
    for name in base.names():
        assert base.get(name).name == name
    with pytest.raises(UnknownNameError, match="Did you mean 'nncf'"):
        base.get("nnfc")


@pytest.mark.parametrize("name", QDQ)
def test_qdq_keeps_the_answers(name: str, residual: Path, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    done = base.get(name).quantize(residual, path, plan=INT8, feeds=graphs.feeds)
    assert done.modules == (
        "encoder.stem",
        "encoder.blocks.0.0",
        "encoder.blocks.0.1",
        "encoder.neck",
    )
    feed = next(graphs.feeds())
    measured = snr(graphs.run(residual, feed), graphs.run(path, feed))
    print(f"{name}: {measured:.1f} dB")
    assert measured > 25


@pytest.mark.parametrize("name", QDQ)
def test_additions_and_planned_floats_stay_float(name: str, residual: Path, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    done = base.get(name).quantize(residual, path, plan=KEEP_BLOCKS, feeds=graphs.feeds)
    assert done.modules == ("encoder.stem", "encoder.neck")
    model = onnx.load(path)
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        before = {makers[i].op_type for i in node.input if i in makers}
        is_quantized = "DequantizeLinear" in before
        if node.op_type == "Add" or module_from_node(node.name).startswith("encoder.blocks"):
            assert not is_quantized, node.name
        elif node.op_type == "Conv":
            assert is_quantized, node.name


def test_tensorrt_accepts_the_signed_form(residual: Path, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    base.get("qdq").quantize(residual, path, plan=INT8, feeds=graphs.feeds)
    model = onnx.load(path)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    pairs = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) >= 3 * 4
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8, node.name
        assert not zero.any(), node.name
    per_channel = [n for n in pairs if constants[n.input[1]].size > 1]
    assert {constants[n.input[1]].size for n in per_channel} == {8, 16}
    biases = [n.input[2] for n in model.graph.node if n.op_type == "Conv"]
    assert all(constants[name].dtype == np.float32 for name in biases)


def test_onnx_runtime_cannot_overflow_sixteen_bits(residual: Path, tmp_path: Path) -> None:
    """Without VNNI it adds two products of an unsigned and a signed byte in 16 bits."""
    path = tmp_path / "quantized.onnx"
    quantizer = base.get("qdq_unsigned")
    quantizer.quantize(residual, path, plan=INT8, feeds=graphs.feeds)
    arrays = [onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
    weights = [a for a in arrays if a.dtype == np.int8 and a.ndim > 1]
    assert len(weights) >= 3
    for weight in weights:
        assert 2 * 255 * int(np.abs(weight.astype(int)).max()) < 1 << 15
        assert np.abs(weight.astype(int)).max() >= 60  # and nothing of the seven bits is wasted
    assert "7 of 8 bits" in quantizer.note


def test_a_plan_of_floats_changes_nothing(residual: Path, tmp_path: Path) -> None:
    path = tmp_path / "same.onnx"
    plan = PrecisionPlan(default="fp32")
    assert base.get("qdq").quantize(residual, path, plan=plan, feeds=graphs.feeds).modules == ()
    assert path.read_bytes() == residual.read_bytes()


def test_biases_take_the_mean_shift_away(residual: Path, tmp_path: Path) -> None:
    """The mean of a layer's output over the calibration set is the float graph's again."""
    from samedge.calibration import bias

    path = tmp_path / "quantized.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("samedge.calibration.qdq.correct_biases", lambda *_, **__: 0)
        base.get("qdq").quantize(residual, path, plan=INT8, feeds=graphs.feeds)

    def shift() -> float:
        gaps = [
            (graphs.run(residual, f) - graphs.run(path, f)).mean((0, 2, 3)) for f in graphs.feeds()
        ]
        return float(np.abs(np.mean(gaps, axis=0)).max())

    before = shift()
    assert bias.correct_biases(residual, path, feeds=graphs.feeds()) == 4
    after = shift()
    print(f"largest mean shift {before:.5f} before, {after:.5f} after")
    assert after < 0.5 * before


def test_nncf_writes_what_the_plan_says(residual: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "quantized.xml"
    done = base.get("nncf").quantize(residual, path, plan=KEEP_BLOCKS, feeds=graphs.feeds)
    assert done.modules == ("encoder.stem", "encoder.neck")
    model = openvino.Core().read_model(path)
    quantized = {
        module_from_node(op.get_friendly_name())
        for op in model.get_ops()
        if op.get_type_name() == "Convolution" and _holds_integers(op)
    }
    assert quantized == {"encoder.stem", "encoder.neck"}
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    feed = next(graphs.feeds())
    assert snr(graphs.run(residual, feed), compiled(feed)[0]) > 25


def _holds_integers(op: Any) -> bool:
    """Whether the weights are stored as integers."""
    node = op.input_value(1).get_node()
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return bool(node.get_element_type().get_type_name() == "i8")


def test_a_library_that_fails_is_a_calibration_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    with pytest.raises(CalibrationError, match=r"'qdq' failed on broken\.onnx"):
        base.get("qdq").quantize(broken, tmp_path / "out.onnx", plan=INT8, feeds=graphs.feeds)
