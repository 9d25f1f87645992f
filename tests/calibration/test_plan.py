"""Names of modules, and plans that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.calibration.modules import (
    group_from_module,
    groups,
    is_within,
    may_mean,
    module_from_node,
    module_from_path,
)
from samedge.calibration.plan import (
    PlanRow,
    PrecisionPlan,
    check_modules,
    default_plan,
    load_plan,
)
from samedge.errors import CalibrationError
from samedge.types import Precision


@pytest.mark.parametrize(
    ("node", "module"),
    [
        ("/image_encoder/conv_stem/Conv", "image_encoder.conv_stem"),
        ("/image_encoder/blocks.0/blocks.0.1/conv_pw/Conv", "image_encoder.blocks.0.1.conv_pw"),
        ("/decoder/decoder/blocks/blocks.2/norm/Add_1", "decoder.blocks.2.norm"),
        ("/neck/paths.4/paths.4.0/Conv/WithoutBiases", "neck.paths.4.0"),
        ("/decoder/decoder/quality/quality.0/MatMul", "decoder.quality.0"),
        ("/Add", ""),
        ("Add_17", ""),
    ],
)
def test_a_node_tells_its_module(node: str, module: str) -> None:
    assert module_from_node(node) == module


def test_groups_are_stages() -> None:
    assert group_from_module("image_encoder.backbone.blocks.1.0.conv") == (
        "image_encoder.backbone.blocks.1"
    )
    assert group_from_module("image_encoder.backbone.conv_stem") == (
        "image_encoder.backbone.conv_stem"
    )
    found = groups(["/e/b.0/b.0.0/Conv", "/e/b.10/b.10.0/Conv", "/e/b.0/b.0.1/Conv"])
    assert found == {
        "e.b.0": ["/e/b.0/b.0.0/Conv", "/e/b.0/b.0.1/Conv"],
        "e.b.10": ["/e/b.10/b.10.0/Conv"],
    }


def test_a_node_leaves_out_what_is_not_called() -> None:
    assert may_mean("decoder.fine", "decoder.decoder.fine")
    assert may_mean("decoder.position", "decoder.prompts.position")
    assert not may_mean("decoder.position", "decoder.prompts")
    assert not may_mean("decoder.prompts.position", "decoder.position")
    assert not may_mean("prompts.position", "decoder.prompts.position")
    assert module_from_path("decoder.decoder.fine") == "decoder.fine"
    assert module_from_path("encoder.blocks.0.0.conv") == "encoder.blocks.0.0.conv"


def test_names_end_at_dots() -> None:
    assert is_within("encoder.blocks.1", "encoder.blocks.1")
    assert is_within("encoder.blocks.1.conv", "encoder.blocks.1")
    assert not is_within("encoder.blocks.10", "encoder.blocks.1")
    assert is_within("anything", "")


def test_the_longest_path_decides() -> None:
    plan = PrecisionPlan(
        modules=[
            PlanRow(module="encoder.blocks.0.conv", precision="int8"),
            PlanRow(module="encoder.blocks.0", precision="fp32"),
        ]
    )
    assert plan.precision_of("encoder.blocks.1") is Precision.INT8
    assert plan.precision_of("encoder.blocks.0.norm") is Precision.FP32
    assert plan.is_quantized("encoder.blocks.0.conv")
    assert not plan.is_quantized("encoder.blocks.0")


def test_the_default_plan_quantizes_the_encoder_alone() -> None:
    plan = default_plan(Precision.BF16)
    assert plan.is_quantized("image_encoder.blocks.3.attn.qkv")
    assert plan.precision_of("decoder.masks") is Precision.BF16
    assert not plan.is_quantized("")  # what belongs to no module stays float


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = default_plan(Precision.FP32).with_rows(
        [PlanRow(module="image_encoder.stem", precision="fp32", reason="loses most", drop=0.02)]
    )
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan
    assert [row["module"] for row in plan.records()] == ["", "", "decoder", "image_encoder.stem"]


def test_a_row_given_again_replaces_the_first() -> None:
    plan = default_plan(Precision.FP32).with_rows([PlanRow(module="decoder", precision="int8")])
    assert plan.is_quantized("decoder.masks")
    assert len(plan.modules) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no precision plan"),
        ('{"modules": [{"module": "a", "precision": "int8", "why": "typo"}]}', "why"),
        ('{"schema": "samedge.plan/9"}', "samedge.plan/9"),
        ('{"default": "int4"}', "int4"),
        ('{"modules": [{"module": "a.b", "precision": "float"}]}', "a.b"),
        ('{"rest": "int8"}', "rest"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=said):
        load_plan(path)


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"gone\.json"):
        load_plan(tmp_path / "gone.json")


def test_a_module_that_is_not_there_is_named_with_the_nearest() -> None:
    plan = PrecisionPlan(modules=[PlanRow(module="image_encoder.block", precision="fp32")])
    with pytest.raises(CalibrationError, match=r"Did you mean 'image_encoder\.blocks'"):
        check_modules(plan, ["image_encoder.blocks", "decoder.masks"])
    check_modules(plan.with_rows([]), ["image_encoder.block.0"])
