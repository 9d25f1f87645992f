"""fp16 and bf16 by casts: right where it fits, fp32 where it would overflow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from samedge.calibration import base
from samedge.calibration.modules import module_from_node
from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.calibration.ranges import largest_magnitudes
from samedge.errors import CalibrationError
from samedge.types import Array, Precision
from tests.calibration import graphs

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

FP16 = PrecisionPlan(default="fp16", rest="fp16")
BF16 = PrecisionPlan(default="bf16", rest="bf16")


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graphs.residual(tmp_path_factory.mktemp("graphs") / "residual.onnx")


@pytest.fixture(scope="module")
def massive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer whose outputs reach some hundreds, normalised by their squares: fp16 overflows."""
    nodes = [
        *graphs.start(),
        graphs.conv("x", "big", "/encoder/stem/Conv"),
        helper.make_node("Mul", ["big", "big"], ["square"], name="/encoder/norm/Mul"),
        helper.make_node(
            "ReduceMean", ["square"], ["mean_square"], name="/encoder/norm/ReduceMean", axes=[1]
        ),
        helper.make_node("Add", ["mean_square", "eps"], ["safe"], name="/encoder/norm/Add"),
        helper.make_node("Sqrt", ["safe"], ["root"], name="/encoder/norm/Sqrt"),
        helper.make_node("Div", ["big", "root"], ["normed"], name="/encoder/norm/Div"),
        graphs.conv("normed", "image_embeddings", "/encoder/neck/Conv"),
    ]
    random = np.random.default_rng(0)
    constants = graphs.start_constants() | {
        "big_w": random.normal(0, 100, (8, 3, 3, 3)).astype(np.float32),
        "big_b": np.zeros(8, np.float32),
        "image_embeddings_w": random.normal(0, 0.1, (8, 8, 3, 3)).astype(np.float32),
        "image_embeddings_b": np.zeros(8, np.float32),
        "eps": np.asarray([1e-6], np.float32),
    }
    path = tmp_path_factory.mktemp("graphs") / "massive.onnx"
    return graphs.save(path, nodes, constants, "image_embeddings")


def relative_error(reference: Array, measured: Array) -> float:
    return float(np.abs(reference - measured).max() / np.abs(reference).max())


def kinds(path: Path) -> dict[str, int]:
    """Element type of what every node gives."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    infos = (*model.graph.value_info, *model.graph.output)
    types = {info.name: info.type.tensor_type.elem_type for info in infos}
    return {node.name: types[node.output[0]] for node in model.graph.node}


def test_layers_are_half_and_edges_are_not(residual: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    done = base.get("cast").quantize(residual, path, plan=FP16, feeds=graphs.feeds)
    onnx.checker.check_model(str(path), full_check=True)
    found = kinds(path)
    half, full = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    assert found["/encoder/stem/Conv"] == half
    assert found["/encoder/blocks.0/Add"] == half
    assert found["/normalize/Div"] == full  # pixels before the first layer
    model = onnx.load(path)
    assert model.graph.output[0].name == "image_embeddings"
    assert model.graph.output[0].type.tensor_type.elem_type == full
    assert "encoder.blocks.0.1" in done.modules
    feed = next(graphs.feeds())
    error = relative_error(graphs.run(residual, feed), graphs.run(path, feed))
    print(f"fp16 error {error:.2e}")
    assert 0 < error < 5e-3
    assert path.stat().st_size < 0.75 * residual.stat().st_size


def test_what_overflows_stays_float(massive: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    done = base.get("cast").quantize(massive, path, plan=FP16, feeds=graphs.feeds)
    found = kinds(path)
    for name in ("Mul", "ReduceMean", "Add", "Sqrt"):
        assert found[f"/encoder/norm/{name}"] == onnx.TensorProto.FLOAT, name
    assert found["/encoder/neck/Conv"] == onnx.TensorProto.FLOAT16
    assert "65504" in done.kept["encoder.norm"]
    feed = next(graphs.feeds())
    error = relative_error(graphs.run(massive, feed), graphs.run(path, feed))
    assert error < 1e-2


def test_the_same_graph_breaks_without_the_probe(massive: Path, tmp_path: Path) -> None:
    """The positive control: with every node in fp16 the embedding is not usable."""
    path = tmp_path / "blind.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("samedge.calibration._cast.unsafe_tensors", lambda *_: {})
        base.get("cast").quantize(massive, path, plan=FP16, feeds=graphs.feeds)
    feed = next(graphs.feeds())
    expected = graphs.run(massive, feed)
    # ONNX Runtime has no fp16 kernels on processors and computes in fp32; the reference rounds.
    with np.errstate(all="ignore"):
        measured = ReferenceEvaluator(str(path)).run(None, feed)[0]
    assert not np.isfinite(measured).all() or relative_error(expected, measured) > 0.5


def test_a_module_can_be_kept_by_the_plan(residual: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixed.onnx"
    plan = FP16.with_rows([PlanRow(module="encoder.blocks.0", precision="fp32")])
    done = base.get("cast").quantize(residual, path, plan=plan, feeds=graphs.feeds)
    found = kinds(path)
    assert {k for n, k in found.items() if module_from_node(n).startswith("encoder.blocks")} == {
        onnx.TensorProto.FLOAT
    }
    assert found["/encoder/neck/Conv"] == onnx.TensorProto.FLOAT16
    assert done.kept["encoder.blocks.0.0"] == "the plan says fp32"


def test_bf16_rounds_to_eight_bits(residual: Path, tmp_path: Path) -> None:
    path = tmp_path / "bf16.onnx"
    base.get("cast").quantize(residual, path, plan=BF16, feeds=graphs.feeds)
    onnx.checker.check_model(str(path), full_check=True)
    found = kinds(path)
    assert found["/encoder/stem/Conv"] == onnx.TensorProto.BFLOAT16
    model = onnx.load(path)
    constants = {t.name: t for t in model.graph.initializer}
    original = {t.name: t for t in onnx.load(residual).graph.initializer}
    want = onnx.numpy_helper.to_array(original["stem_w"])
    bits = np.frombuffer(constants["stem_w/bf16"].raw_data, np.uint16).astype(np.uint32) << 16
    have = bits.view(np.float32).reshape(want.shape)
    assert np.abs(have / want - 1).max() <= 2.0**-8
    assert np.abs(have / want - 1).max() > 2.0**-10


def test_the_probe_tells_the_largest_value(massive: Path) -> None:
    largest = largest_magnitudes(massive, graphs.feeds())
    expected = max(float(np.abs(graphs.run(massive, f)).max()) for f in graphs.feeds())
    assert largest["image_embeddings"] == pytest.approx(expected, rel=1e-5)
    assert largest["square"] == pytest.approx(largest["big"] ** 2, rel=1e-5)
    assert largest["square"] > 65504


def test_a_probe_without_feeds_or_with_a_broken_model_is_refused(
    massive: Path, tmp_path: Path
) -> None:
    with pytest.raises(CalibrationError, match="no feeds"):
        largest_magnitudes(massive, [])
    model = onnx.load(massive)
    for tensor in model.graph.initializer:
        if tensor.name == "big_b":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(8, np.nan, np.float32), "big_b"))
    onnx.save(model, tmp_path / "nan.onnx")

    def feeds() -> Iterator[dict[str, Array]]:
        return graphs.feeds()

    with pytest.raises(CalibrationError, match="nan in fp32 already"):
        largest_magnitudes(tmp_path / "nan.onnx", feeds())


def test_only_half_precisions_are_cast(residual: Path, tmp_path: Path) -> None:
    plan = PrecisionPlan(rest=Precision.FP32.value)
    with pytest.raises(CalibrationError, match="'fp16' and 'bf16' only"):
        base.get("cast").quantize(residual, tmp_path / "x.onnx", plan=plan, feeds=graphs.feeds)


_PEAK = """
import resource, sys
import numpy as np
from samedge.calibration.ranges import largest_magnitudes
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
largest_magnitudes(sys.argv[1], [{"x": np.ones(2**22, np.float32)}])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is counted in kB on Linux")
def test_the_probe_does_not_keep_every_activation(tmp_path: Path) -> None:
    """ViT-B has more of them than a workstation has memory."""
    info = helper.make_tensor_value_info
    count, size = 48, 2**22
    nodes = [
        helper.make_node("Add", ["x" if i == 0 else f"t{i - 1}", "one"], [f"t{i}"])
        for i in range(count)
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [info("x", onnx.TensorProto.FLOAT, [size])],
        [info(f"t{count - 1}", onnx.TensorProto.FLOAT, [size])],
        [onnx.numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "c.onnx")
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "c.onnx")]
    kilobytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert kilobytes * 1024 < count * size * 4 / 2  # all of them would be 805 MB
