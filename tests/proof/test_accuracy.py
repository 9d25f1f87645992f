"""The gate: what it measures between two bundles, and what it lets pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from samedge.errors import CalibrationError, GateError
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.predictor import Predictor
from samedge.proof import accuracy
from samedge.proof.accuracy import Accuracy, AccuracyRow, Reference, allowed_drop, compare
from samedge.proof.photos import CalibrationSet, load_calibration
from samedge.types import Masks, Prompt


@pytest.fixture(autouse=True)
def _cones_count_as_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy model draws cones, whose edge is anywhere between two logits."""
    monkeypatch.setattr(accuracy, "_STABLE", 0.0)


@pytest.fixture(scope="module")
def data() -> CalibrationSet:
    return load_calibration()


def measured(box: float, center: float, *, max_drop: float = 0.005) -> Accuracy:
    rows = [
        AccuracyRow(
            prompt=name,
            n=10,
            miou_fp32=0.8,
            miou=0.8 - drop,
            drop=drop,
            mask_iou_mean=0.97,
            mask_iou_p05=0.9,
        )
        for name, drop in (("box", box), ("center", center))
    ]
    return Accuracy(
        truth="annotations",
        images=2,
        rows=rows,
        encode_ratio=0.5,
        decode_ratio=1.0,
        total_ratio=0.6,
        size_ratio=0.3,
        max_drop=max_drop,
        passed=all(row.drop <= allowed_drop(row.prompt, max_drop) for row in rows),
    )


@pytest.mark.parametrize(("box", "center"), [(0.005, 0.01), (-0.02, 0.0), (0.0, 0.0)])
def test_inside_the_budget_passes(box: float, center: float) -> None:
    measured(box, center).check()


@pytest.mark.parametrize(
    ("box", "center", "named"),
    [(0.006, 0.0, "box"), (0.0, 0.011, "center"), (0.02, 0.03, "box"), (0.006, 0.5, "center")],
)
def test_outside_the_budget_names_the_worst(box: float, center: float, named: str) -> None:
    with pytest.raises(GateError, match=f"With {named} prompts") as caught:
        measured(box, center).check()
    assert caught.value.exit_code == 3


def test_no_number_never_passes() -> None:
    assert not measured(float("nan"), 0.0).passed


def test_a_bundle_loses_nothing_against_itself(toy_bundle: Path, data: CalibrationSet) -> None:
    with Predictor.from_bundle(toy_bundle) as one, Predictor.from_bundle(toy_bundle) as other:
        found = compare(Reference(one, data, max_images=3), other)
    assert found.truth == "fp32 masks"  # a dozen annotations are too few
    assert found.images == 3
    assert found.size_ratio == 1.0
    assert [row.prompt for row in found.rows] == ["box", "center", "clicks:3"]
    for row in found.rows:
        assert row.n >= 3
        assert row.drop == 0.0
        assert row.mask_iou_mean == row.mask_iou_p05 == 1.0
    assert found.passed
    assert found.total_ratio is not None
    assert found.total_ratio > 0


class Shifted(Predictor):
    """A quantized bundle whose masks moved by some pixels."""

    def decode_batch(  # type: ignore[override]
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        answers = super().decode_batch(embedding, prompts, multimask=multimask)
        for answer in answers:
            answer.masks[...] = np.roll(answer.masks, 25, axis=2)
        return answers


def test_masks_that_moved_are_refused(toy_bundle: Path, data: CalibrationSet) -> None:
    """The positive control of the gate."""
    with Predictor.from_bundle(toy_bundle) as sound, Shifted.from_bundle(toy_bundle) as broken:
        found = compare(Reference(sound, data, max_images=2), broken)
    assert not found.passed
    assert found.drop > 0.05
    assert found.rows[0].mask_iou_mean < 0.95
    with pytest.raises(GateError, match="mean IoU against fp32"):
        found.check()


def test_own_instances_are_objects_that_differ(toy_bundle: Path, data: CalibrationSet) -> None:
    with Predictor.from_bundle(toy_bundle) as predictor:
        found = accuracy.own_instances(predictor, next(data.pictures()))
    assert 2 <= len(found) <= 8
    for instance in found:
        x0, y0, x1, y1 = map(int, instance.box)
        assert instance.mask[y0:y1, x0:x1].sum() == instance.mask.sum() == instance.area


def test_a_model_that_draws_nothing_cannot_be_compared(
    toy_bundle: Path, data: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "own_instances", lambda *_: [])
    with (
        Predictor.from_bundle(toy_bundle) as one,
        pytest.raises(CalibrationError, match="no usable mask"),
    ):
        compare(Reference(one, data, max_images=2), one)
