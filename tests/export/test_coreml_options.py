"""What can be asked of Core ML packages: sizes of prompts, parts, functions, systems, and plans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.errors import ExportError, TensorMismatchError, UnknownNameError
from samedge.export import base
from samedge.export._coreml import EXPORTER
from samedge.export.base import ExportRequest
from samedge.export.coreml.options import read_layout
from samedge.export.pipeline import export
from samedge.inspection.ane import lint_package
from samedge.models.painted import PaintedSam
from samedge.predict.graphs import Graphs
from samedge.predict.predictor import Predictor
from samedge.runtimes._mil import BACKEND
from samedge.runtimes.mil.package import read_package
from samedge.runtimes.mil.program import Function
from samedge.types import Precision, Prompt
from tests.export.conftest import CHANNELS

pytest.importorskip("coremltools")

HALF = PrecisionPlan(default="fp16", rest="fp16")
Requests = Callable[..., ExportRequest]


@pytest.mark.slow
def test_bundle_of_one_package_with_points_apart(painted: PaintedSam, tmp_path: Path) -> None:
    """Every option at once, through the parity gate and the accuracy gate."""
    options = {"prompts": "apart", "package": "one", "minimum-os": "macOS15"}
    result = export(painted, "apple", output=tmp_path / "bundle", options=options)
    assert result.parity is not None
    assert result.parity.passed
    manifest = result.bundle.manifest
    assert {g.role: (g.artifact, g.options, g.device) for g in manifest.graphs} == {
        "encoder": ("model.mlpackage", {"function": "encoder"}, None),
        "prompts": ("model.mlpackage", {"function": "prompts"}, "cpu"),
        "decoder": ("model.mlpackage", {"function": "decoder"}, None),
    }
    package = read_package(result.bundle.path / "model.mlpackage")
    assert set(package.functions) == {"encoder", "prompts", "decoder"}
    assert package.specification_version == 9
    assert package.metadata["licence"] == "unknown"
    (file,) = manifest.artifacts
    assert result.bundle.size_bytes == file.bytes
    assert manifest.prompt_buckets == ((1, 11),)
    with Graphs(result.bundle, BACKEND) as graphs:
        names = {spec.name for spec in graphs.session("decoder").inputs}
        assert {"point_coords", "point_labels", "image_embeddings"} <= names
        assert "click_across" not in names
    photo = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    with Predictor.from_bundle(result.bundle.path, backend="mil") as predictor:
        assert predictor.predict(photo, Prompt(box=[10, 10, 60, 80])).masks.shape[1:] == (96, 128)


@pytest.mark.slow
def test_decoder_without_points_has_nothing_in_fp32(request_for: Requests, tmp_path: Path) -> None:
    wish = request_for(
        "apple", precision=Precision.FP16, buckets=((1, 11),), options={"prompts": "apart"}
    )
    EXPORTER.export(wish, tmp_path)
    assert lint_package(tmp_path / "decoder.mlpackage").host_operations == 0
    assert lint_package(tmp_path / "prompts.mlpackage").host_operations > 0


@pytest.mark.parametrize("kind", ["sam", "painted"])
@pytest.mark.slow
def test_decoder_of_several_sizes(
    request_for: Requests, painted: PaintedSam, tmp_path: Path, kind: str
) -> None:
    model = {"model": painted} if kind == "painted" else {}
    wish = request_for("apple", precision=Precision.FP16, options={"points": "11,3"}, **model)
    wish = EXPORTER.prepared(wish)
    assert wish.buckets == ((1, 3), (1, 11))
    EXPORTER.export(wish, tmp_path)
    path = tmp_path / "decoder.mlpackage"
    assert not [f for f in lint_package(path).findings if f.rule == "flexible"]
    random = np.random.default_rng(0)
    with BACKEND.open(path) as session:
        feeds = {
            spec.name: random.normal(size=[int(n) for n in spec.shape]).astype(np.float32)
            for spec in session.inputs
            if spec.name in ("image_embeddings", "mask_input")
        }
        feeds["has_mask_input"] = np.zeros(1, np.float32)
        coords = random.uniform(0, 128, (1, 11, 2)).astype(np.float32)
        labels = np.array([[1, 0, -1] + 8 * [-1]], np.float32)
        masks = [
            session.run({**feeds, "point_coords": coords[:, :n], "point_labels": labels[:, :n]})
            for n in (3, 11)
        ]
        with pytest.raises(TensorMismatchError, match="expected one of"):
            session.run({**feeds, "point_coords": coords[:, :5], "point_labels": labels[:, :5]})
    short, long = (result["low_res_masks"] for result in masks)
    np.testing.assert_allclose(short, long, atol=5e-3 * np.abs(long).max())


@pytest.mark.parametrize(
    ("options", "plan", "error", "message"),
    [
        ({"minimum-os": "iOS15"}, HALF, UnknownNameError, "iOS16"),
        ({"minimum-os": "iOS17", "package": "one"}, HALF, ExportError, "package=one needs iOS18"),
        ({"minimum-os": "iOS16"}, PrecisionPlan(), ExportError, "int8 needs iOS17"),
        ({"prompts": "outside"}, HALF, UnknownNameError, "apart"),
        ({"points": "3,x"}, HALF, ExportError, "numbers of at least 2"),
        ({"points": "1"}, HALF, ExportError, "numbers of at least 2"),
    ],
)
def test_bad_options_are_answered(
    options: dict[str, str], plan: PrecisionPlan, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_layout(options, ((1, 11),), plan)


def test_options_have_defaults_and_unknown_ones_a_suggestion(request_for: Requests) -> None:
    layout = read_layout({}, ((1, 11),), HALF)
    assert (layout.minimum_os, layout.is_apart, layout.is_one) == ("iOS17", False, False)
    assert read_layout({"minimum-os": "macOS13"}, ((1, 2),), HALF).minimum_os == "iOS16"
    wish = request_for("apple", precision=Precision.FP16, options={"minimum_os": "iOS17"})
    with pytest.raises(UnknownNameError, match="minimum-os"):
        EXPORTER.prepared(wish)


def kinds_by_module(function: Function) -> set[str]:
    return {operation.kind for operation in function.operations}


@pytest.mark.slow
def test_int8_rounds_the_encoder_and_leaves_the_decoder(
    request_for: Requests, tmp_path: Path
) -> None:
    wish = request_for("apple", precision=Precision.INT8, buckets=((1, 11),))
    EXPORTER.export(wish, tmp_path)
    encoder, decoder = (
        read_package(tmp_path / f"{role}.mlpackage").functions["main"]
        for role in ("encoder", "decoder")
    )
    assert {"quantize", "dequantize"} <= kinds_by_module(encoder)
    assert not {"quantize", "dequantize"} & kinds_by_module(decoder)
    image = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    with BACKEND.open(tmp_path / "encoder.mlpackage") as session:
        rounded = session.run({"image": image})["image_embeddings"]
    plain = request_for("apple", precision=Precision.FP16, buckets=((1, 11),))
    (tmp_path / "plain").mkdir()
    EXPORTER.export(plain, tmp_path / "plain")
    with BACKEND.open(tmp_path / "plain" / "encoder.mlpackage") as session:
        expected = session.run({"image": image})["image_embeddings"]
    ratio = 10 * np.log10(np.square(expected).mean() / np.square(rounded - expected).mean())
    print(f"W8A8 encoder: {ratio:.1f} dB")
    assert 15 < ratio < 60


@pytest.mark.slow
def test_plan_chooses_the_weights_of_each_module(request_for: Requests, tmp_path: Path) -> None:
    plan = PrecisionPlan(
        default="fp16",
        rest="fp16",
        modules=[
            PlanRow(module="image_encoder.patches", precision="w8"),
            PlanRow(module="decoder.hypernetworks", precision="w6"),
        ],
    )
    wish = request_for("apple", precision=Precision.FP16, buckets=((1, 11),), plan=plan)
    EXPORTER.export(wish, tmp_path)
    compressed = {}
    for role in ("encoder", "decoder"):
        function = read_package(tmp_path / f"{role}.mlpackage").functions["main"]
        compressed[role] = [
            (op.kind, op.outputs[0][1].shape)
            for op in function.operations
            if op.kind.startswith("constexpr_")
        ]
    assert compressed == {
        "encoder": [("constexpr_affine_dequantize", (CHANNELS, 3, 16, 16))],
        "decoder": 2 * [("constexpr_lut_to_dense", (4, CHANNELS, CHANNELS))],
    }


def test_other_formats_refuse_a_plan_for_weights_alone(request_for: Requests) -> None:
    plan = PrecisionPlan(default="w6", rest="fp32")
    wish = request_for("cpu", precision=Precision.INT8, plan=plan)
    with pytest.raises(ExportError, match="'w6'"):
        base.get("onnx").export(wish, Path())
