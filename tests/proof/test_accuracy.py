"""The gate: what it measures between two bundles, and what it lets pass."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from samedge.errors import BackendUnavailableError, GateError
from samedge.formats.results import Masks
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.predictor import Predictor
from samedge.proof import accuracy, decision, scenes
from samedge.proof.accuracy import Accuracy, AccuracyRow, compare
from samedge.proof.decision import Budget, Undecided, Verdict
from samedge.proof.photos import CalibrationSet, load_calibration
from samedge.proof.scenes import Reference
from samedge.types import ActiveBackend, Array, Prompt


@pytest.fixture(scope="module")
def data() -> CalibrationSet:
    return load_calibration()


def measured(
    box: tuple[float, float] | None,
    center: tuple[float, float] | None,
    *,
    rule: Undecided = Undecided.PASS,
    max_drop: float = 0.005,
) -> Accuracy:
    """What is known of two kinds of prompts, each by the ends of its interval."""
    rows = [
        AccuracyRow(
            prompt=name,
            n=28,
            miou_fp32=0.8,
            miou=0.8 - drop,
            drop=drop,
            mask_iou_mean=0.97,
            mask_iou_p05=0.9,
            drop_ci95=ends,
        )
        for name, ends in (("box", box), ("center", center))
        for drop in (sum(ends or (0.0, 0.0)) / 2,)
    ]
    found = decision.overall([row.verdict(max_drop) for row in rows])
    return Accuracy(
        truth="annotations",
        images=9,
        rows=rows,
        encode_ratio=0.5,
        decode_ratio=1.0,
        total_ratio=0.6,
        size_ratio=0.3,
        max_drop=max_drop,
        passed=Budget(max_drop=max_drop, undecided=rule).passes(found),
        verdict=found.value,
        undecided=rule.value,
    )


INSIDE = (-0.004, 0.004)


@pytest.mark.parametrize("center", [(-0.03, 0.01), (-0.02, 0.0), INSIDE])
def test_an_upper_end_inside_the_budget_passes(center: tuple[float, float]) -> None:
    found = measured(INSIDE, center, rule=Undecided.FAIL)
    assert found.verdict == "passed"
    found.check()


@pytest.mark.parametrize(
    ("box", "center", "named"),
    [
        ((0.006, 0.05), INSIDE, "box"),
        (INSIDE, (0.011, 0.012), "center"),
        ((0.006, 0.03), (0.011, 0.9), "center"),  # loses more of its own budget
        ((0.006, 0.007), (0.009, 0.9), "box"),  # the other is only undecided
    ],
)
def test_a_lower_end_past_the_budget_is_refused(
    box: tuple[float, float], center: tuple[float, float], named: str
) -> None:
    found = measured(box, center)
    assert found.verdict == "refused"
    with pytest.raises(GateError, match=f"With {named} prompts") as caught:
        found.check()
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("center", [(-0.004, 0.031), None])
def test_between_the_two_the_rule_decides(center: tuple[float, float] | None) -> None:
    """The interval alone refuses nothing that it does not prove."""
    lenient, strict = (measured(INSIDE, center, rule=rule) for rule in Undecided)
    assert lenient.verdict == strict.verdict == "undecided"
    lenient.check()
    with pytest.raises(GateError, match=r"Accuracy is undecided: center prompts lose .* 28 inst"):
        strict.check()
    with pytest.raises(GateError, match=r"fail asks\. Give --calibration with 50 photos, "):
        strict.check()  # ends in what to do, which is the remedy of the command's document
    if center is not None:
        assert "-0.004 to 0.031 mean IoU on 28 instances" in lenient.summary
    assert "--calibration with 50 photos" in lenient.summary


def test_no_number_never_passes() -> None:
    nan = float("nan")
    assert measured((nan, nan), INSIDE).verdict == "refused"


def test_a_bundle_loses_nothing_against_itself(toy_bundle: Path, data: CalibrationSet) -> None:
    with Predictor.from_bundle(toy_bundle) as one, Predictor.from_bundle(toy_bundle) as other:
        found = compare(Reference(one, data), other)
    assert found.truth == "annotations and composites"  # four photos are too few
    assert found.images == decision.FEWEST_IMAGES
    assert found.verdict == "passed"
    assert found.size_ratio == 1.0
    assert [row.prompt for row in found.rows] == ["box", "center", "clicks:3"]
    for row in found.rows:
        assert row.n >= 2 * found.images
        assert row.drop == 0.0
        assert row.drop_ci95 == (0.0, 0.0)
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
        found = compare(Reference(sound, data), broken)
    assert found.verdict == "refused"
    assert not found.passed
    assert found.drop > 0.05
    assert found.rows[0].mask_iou_mean < 0.95
    with pytest.raises(GateError, match=r"mean IoU \(.*\) against fp32"):
        found.check()


class Undecidable(Predictor):
    """As good as fp32 on the whole, and another mask each time."""

    calls = 0

    def decode_batch(  # type: ignore[override]
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        answers = super().decode_batch(embedding, prompts, multimask=multimask)
        self.calls += 1
        if self.calls % 3 == 0:
            for answer in answers:
                answer.masks[...] = np.roll(answer.masks, 6, axis=2)
        return answers


def test_more_is_measured_until_the_time_is_over(
    toy_bundle: Path, data: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(accuracy, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    monkeypatch.setattr(decision, "verdict", lambda *_, early=False: Verdict.UNDECIDED)
    budget = Budget(seconds=20.0, undecided=Undecided.FAIL)
    with Predictor.from_bundle(toy_bundle) as sound, Undecidable.from_bundle(toy_bundle) as other:
        found = compare(Reference(sound, data), other, budget=budget, timed=False)
    assert found.verdict == "undecided"
    assert found.images == 20  # one tick of the clock a picture
    assert not found.passed


def test_a_choice_among_equals_is_no_loss() -> None:
    """Where fp32 hardly prefers a candidate, the other side goes on with the same one."""
    tie, clear = np.array([0.80, 0.81, 0.3]), np.array([0.80, 0.90, 0.3])
    other = np.array([0.82, 0.80, 0.3])
    backend = ActiveBackend("toy", None, "cpu")
    nothing = np.zeros((3, 4, 4))
    given = [Masks(nothing > 0, other, nothing, nothing[:, 0, 0], backend) for _ in range(2)]
    kept = scenes._with_choice_of(given, [tie, clear])
    assert [int(np.argmax(masks.iou_predictions)) for masks in kept] == [1, 0]


def test_the_same_seed_gives_the_same_scenes(toy_bundle: Path, data: CalibrationSet) -> None:
    def pictures(seed: int) -> list[Array]:
        with Predictor.from_bundle(toy_bundle) as predictor:
            reference = Reference(predictor, data, max_images=6, seed=seed)
            return [scene.picture for scene, _ in reference.scenes()]

    first, again, other = pictures(0), pictures(0), pictures(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    same = [np.array_equal(a, b) for a, b in zip(first, other, strict=True)]
    assert same == [True] * 3 + [False] * 3  # photos, and composites


def test_without_pycocotools_samedges_own_photos_do(
    toy_bundle: Path, data: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise BackendUnavailableError("pycocotools is not installed")

    monkeypatch.setattr(CalibrationSet, "ground_truth", missing)
    with Predictor.from_bundle(toy_bundle) as predictor:
        reference = Reference(predictor, data, max_images=1)
        assert [scene.truth for scene, _ in reference.scenes()] == ["composites"]
        mine = dataclasses.replace(data, source=Path("mine"))
        with pytest.raises(BackendUnavailableError):
            Reference(predictor, mine)
