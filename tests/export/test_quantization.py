"""INT8 bundles, the accuracy gate in the pipeline, and what ``auto`` chooses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import ModelRecord
from samedge.calibration.modules import group_from_module
from samedge.calibration.plan import PlanRow, PrecisionPlan, load_plan
from samedge.calibration.trial import quantizer_for
from samedge.errors import CalibrationError, GateError
from samedge.export import choice, gates, pipeline, staging
from samedge.export.base import ExportRequest, ExportResult
from samedge.export.pipeline import export
from samedge.export.quantization import check_plan, plan_of
from samedge.export.sources import photo_paths
from samedge.models.checkpoints import load_checkpoint
from samedge.models.painted import PaintedSam
from samedge.models.zoo import WEIGHTS
from samedge.proof import decision
from samedge.proof.accuracy import Accuracy, AccuracyRow
from samedge.proof.photos import load_calibration
from samedge.targets import target
from samedge.types import Precision

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def _lenient_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights are no trained model: what INT8 does to their masks says nothing."""
    loose = dataclasses.replace(
        decision.limits(Precision.INT8),
        mask_iou_mean=0.0,
        mask_iou_p05=0.0,
        embedding_cosine=0.5,
        logit_error=1.0,
        quality_error=1.0,
    )
    monkeypatch.setattr(decision, "_EIGHT_BITS", loose)
    monkeypatch.setattr(pipeline, "photo_paths", lambda images: photo_paths(images)[:2])


def accuracy(*, drop: float = 0.0, total_ratio: float = 0.5, passed: bool = True) -> Accuracy:
    row = AccuracyRow(
        prompt="box",
        n=40,
        miou_fp32=0.8,
        miou=0.8 - drop,
        drop=drop,
        mask_iou_mean=0.98,
        mask_iou_p05=0.9,
    )
    return Accuracy(
        truth="annotations",
        images=4,
        rows=[row],
        encode_ratio=total_ratio,
        decode_ratio=1.0,
        total_ratio=total_ratio,
        size_ratio=0.3,
        max_drop=0.005,
        passed=passed,
        verdict="passed" if passed else "refused",
    )


@pytest.mark.parametrize("target", ["cpu", "intel"])
def test_int8_is_written_where_the_plan_says(
    target: str, painted: PaintedSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if target == "intel":
        pytest.importorskip("nncf")
    monkeypatch.setattr(gates, "compare", lambda *_, **__: accuracy())
    result = export(painted, target, precision="int8", output=tmp_path / "int8")
    manifest = result.bundle.manifest
    rest = "bf16" if target == "intel" else "fp32"
    assert {g.role: g.precision for g in manifest.graphs} == {"encoder": "int8", "decoder": rest}
    assert manifest.precision == "int8"
    assert [(row["module"], row["precision"]) for row in manifest.plan] == [
        ("", "int8"),
        ("", rest),
        ("decoder", rest),
    ]
    assert manifest.accuracy == msgspec.to_builtins(accuracy())
    assert manifest.gate == "passed"
    canary = result.bundle.canary()
    assert canary is not None
    loosest = decision.limits(Precision.INT8).canary_cosine
    assert canary.min_cosine == loosest
    assert canary.limits == {}  # the masks are of the encoder, too
    record = result.record()
    assert record.accuracy is not None
    assert record.accuracy["rows"][0]["prompt"] == "box"


def test_a_plan_of_ones_own_is_followed(
    painted: PaintedSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "compare", lambda *_, **__: accuracy())
    plan = PrecisionPlan(
        modules=[
            PlanRow(module="decoder", precision="int8"),
            PlanRow(module="image_encoder", precision="fp32", reason="by hand"),
        ]
    )
    result = export(painted, "cpu", precision="int8", plan=plan, output=tmp_path / "int8")
    precisions = {g.role: g.precision for g in result.bundle.manifest.graphs}
    assert precisions == {"encoder": "fp32", "decoder": "int8"}
    assert result.bundle.manifest.plan[-1]["reason"] == "by hand"


def test_the_rest_computes_as_the_plan_says(
    painted: PaintedSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf")
    monkeypatch.setattr(gates, "compare", lambda *_, **__: accuracy())
    plan = PrecisionPlan(modules=[PlanRow(module="decoder", precision="fp32")], rest="fp32")
    result = export(painted, "intel", precision="int8", plan=plan, output=tmp_path / "int8")
    assert result.bundle.manifest.options["inference_precision"] == "f32"


def test_a_plan_for_another_model_is_refused(painted: PaintedSam, tmp_path: Path) -> None:
    plan = PrecisionPlan(modules=[PlanRow(module="image_encoder.block", precision="fp32")])
    with pytest.raises(CalibrationError, match=r"names module 'image_encoder\.block'"):
        export(painted, "cpu", precision="int8", plan=plan, output=tmp_path / "int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "precision", "remedy"),
    [
        ("cpu", "fp32", "give --precision int8, or leave it out"),
        ("intel", "fp16", "give --precision int8, or leave it out"),
        ("intel", "bf16", "give --precision int8, or leave it out"),
        ("jetson", "fp16", "give --precision int8, or leave it out"),
        ("apple", "fp32", "give --precision int8, or leave it out"),
        ("torch", "auto", "Instead leave it out"),
    ],
)
def test_a_plan_without_effect_is_refused(
    painted: PaintedSam, tmp_path: Path, name: str, precision: str, remedy: str
) -> None:
    """It would stand in the manifest as if the files were as it says."""
    plan = PrecisionPlan(rest="fp16", modules=[PlanRow(module="decoder", precision="fp16")])
    with pytest.raises(CalibrationError, match=f"would have no effect.*{remedy}"):
        export(painted, name, precision=precision, plan=plan, output=tmp_path / "b")


def test_a_plan_that_only_keeps_parts_in_fp32_is_followed_in_half_precision(
    painted: PaintedSam,
) -> None:
    plan = PrecisionPlan(
        default="fp16", rest="fp16", modules=[PlanRow(module="decoder", precision="fp32")]
    )
    for name in ("jetson", "apple"):
        check_plan(
            ExportRequest(
                model=painted,
                source=ModelRecord(name="tiny", licence="", origin=""),
                target=target(name),
                precision=Precision.FP16,
                plan=plan,
            )
        )


@pytest.mark.parametrize("total_ratio", [0.5, 1.5])
def test_auto_with_a_plan_is_int8_as_it_says_or_fp32_without_it(
    painted: PaintedSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total_ratio: float
) -> None:
    found = accuracy(total_ratio=total_ratio)
    monkeypatch.setattr(gates, "compare", lambda *_, **__: found)
    plan = PrecisionPlan(modules=[PlanRow(module="decoder", precision="fp32")])
    result = export(painted, "cpu", plan=plan, output=tmp_path / "b")
    is_int8 = total_ratio < 1
    assert result.bundle.manifest.precision == ("int8" if is_int8 else "fp32")
    assert bool(result.bundle.manifest.plan) is is_int8
    assert [row["precision"] for row in result.choices] == ["int8", "fp32"]


@pytest.mark.parametrize("kind", ["painted", "sam"])
def test_the_parts_that_a_search_measures_can_be_named_in_a_plan(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = request.getfixturevalue(kind)
    bundle = export(model, "cpu", precision="fp32", output=tmp_path / "fp32").bundle
    quantizer = quantizer_for(bundle)
    graphs = [bundle.artifact_path(role) for role in ("encoder", "decoder")]
    parts = [{*map(group_from_module, quantizer.modules(path))} for path in graphs]
    assert all(parts)
    rows = [PlanRow(module=part, precision="fp32") for found in parts for part in sorted(found)]
    found = ExportRequest(
        model=model,
        source=ModelRecord(name="tiny", licence="", origin=""),
        target=target("cpu"),
        precision=Precision.INT8,
        plan=PrecisionPlan(modules=rows),
    )
    check_plan(found)


def test_an_embedded_model_brings_its_plan(painted: PaintedSam) -> None:
    data = load_calibration()
    source = ModelRecord(name="samedge-nano", licence="", origin="")
    request = ExportRequest(
        model=painted,
        source=source,
        target=target("intel"),
        precision=Precision.INT8,
        calibration=data,
    )
    plan = plan_of(request)
    assert plan.precision_of("image_encoder.backbone.conv_stem") is Precision.BF16
    assert plan.is_quantized("image_encoder.backbone.blocks.3.0.conv_pw")
    other = dataclasses.replace(request, source=msgspec.structs.replace(source, name="mine"))
    assert plan_of(other).is_quantized("image_encoder.backbone.conv_stem")


@pytest.mark.parametrize("file", sorted(WEIGHTS.glob("*.plan.json")), ids=lambda path: path.name)
def test_embedded_plans_speak_of_their_models(file: Path) -> None:
    name = file.name.removesuffix(".plan.json")
    request = ExportRequest(
        model=load_checkpoint(WEIGHTS / f"{name}.safetensors"),
        source=ModelRecord(name=name, licence="", origin=""),
        target=target("cpu"),
        precision=Precision.INT8,
        plan=load_plan(file),
    )
    check_plan(request)
    assert not load_plan(file).is_quantized("decoder")  # given with --plan it is the whole plan


def test_past_the_budget_there_is_no_bundle(
    painted: PaintedSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = accuracy(drop=0.2, passed=False)
    monkeypatch.setattr(gates, "compare", lambda *_, **__: lost)
    output = tmp_path / "int8"
    with pytest.raises(GateError, match=r"lose 0\.2000 mean IoU") as caught:
        export(painted, "cpu", precision="int8", output=output)
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []
    result = export(painted, "cpu", precision="int8", output=output, gate=False)
    assert result.bundle.manifest.gate == "skipped: --no-gate"
    assert result.bundle.manifest.accuracy is not None
    assert result.bundle.manifest.accuracy["passed"] is False


@pytest.mark.parametrize(
    ("total_ratio", "passed", "chosen", "said"),
    [
        (0.6, True, "bf16", "chosen"),
        pytest.param(1.3, True, "fp32", "not faster than fp32", marks=pytest.mark.slow),
        (0.996, True, "fp32", "not faster than fp32"),  # bf16 where the processor has none
        (0.6, False, "fp32", "the budget is"),
    ],
)
def test_auto_is_never_slower_or_worse_than_fp32(
    total_ratio: float,
    passed: bool,
    chosen: str,
    said: str,
    painted: PaintedSam,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino")
    found = accuracy(total_ratio=total_ratio, passed=passed, drop=0.0 if passed else 0.1)
    monkeypatch.setattr(gates, "compare", lambda *_, **__: found)
    result = export(painted, "intel", output=tmp_path / "auto")
    assert result.bundle.manifest.precision == chosen
    rows = {row["precision"]: row["verdict"] for row in result.choices}
    assert said in rows["bf16"]
    assert rows[chosen] == "chosen"
    assert result.bundle.manifest.accuracy is not None
    assert result.bundle.manifest.accuracy["choices"] == list(result.choices)


def test_auto_keeps_the_files_that_it_measured(
    painted: PaintedSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chosen precision is not written a second time, and of the others nothing stays."""
    pytest.importorskip("openvino")
    written: list[str] = []
    staged = staging.staged

    def counted(request: ExportRequest, *rest: Any) -> Bundle:
        written.append(request.precision.value)
        return staged(request, *rest)

    monkeypatch.setattr(staging, "staged", counted)
    monkeypatch.setattr(gates, "compare", lambda *_, **__: accuracy(total_ratio=0.6))
    result = export(painted, "intel", output=tmp_path / "auto")
    assert written == ["fp32", "bf16"]  # fp32 to compare with
    assert result.bundle.manifest.precision == "bf16"
    assert [path.name for path in tmp_path.iterdir()] == ["auto"]


def test_the_fastest_of_those_that_pass() -> None:
    rows = [
        choice.row(Precision.BF16, accuracy(total_ratio=0.6), why=""),
        choice.row(Precision.INT8, accuracy(total_ratio=0.4), why=""),
        choice.row(Precision.FP16, None, why="parity failed"),
    ]
    assert choice.fastest(rows) is Precision.INT8
    assert choice.fastest(rows[2:]) is Precision.FP32
    shown = {row["precision"]: row["verdict"] for row in choice.table(rows, Precision.INT8)}
    assert shown == {
        "bf16": "slower than the chosen one",
        "int8": "chosen",
        "fp16": "parity failed",
        "fp32": "slower than the chosen one",
    }


def test_the_result_says_what_was_measured(painted: PaintedSam, tmp_path: Path) -> None:
    """Without a stand-in: fp32 beside bf16, on the photos that come with samedge."""
    pytest.importorskip("openvino")
    result = export(painted, "intel", precision="bf16", gate=False, output=tmp_path / "bf16")
    assert isinstance(result, ExportResult)
    assert dataclasses.is_dataclass(result)
    if result.accuracy is not None:  # random weights may draw nothing
        assert result.accuracy.size_ratio == pytest.approx(1.0, abs=0.05)
