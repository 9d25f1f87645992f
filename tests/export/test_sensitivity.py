"""The search for a precision plan, on a tiny bundle whose sensitivities are made up."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from samedge.calibration import base, search, sensitivity
from samedge.calibration.plan import PlanRow, PrecisionPlan, load_plan
from samedge.calibration.search import find_plan
from samedge.calibration.trial import RoleFeeds, quantized_predictor, quantizer_for
from samedge.cli import cli
from samedge.errors import CalibrationError
from samedge.export.base import ExportResult
from samedge.machine.identity import machine_identity
from samedge.predict.predictor import Predictor
from samedge.proof import parity, scenes
from samedge.proof.accuracy import Accuracy, AccuracyRow
from samedge.proof.decision import Budget, GraphLimits
from samedge.proof.photos import CalibrationSet, load_calibration

pytest.importorskip("onnxruntime")

WORST = "image_encoder.patches"
LOSSES = {WORST: 0.1, "image_encoder.mix": 0.001}


@dataclasses.dataclass
class Bench:
    """Stands in for quantizing and measuring: what a plan loses is the sum over its groups."""

    plans: list[PrecisionPlan] = dataclasses.field(default_factory=list)
    stop_after: int | None = None
    slower: frozenset[str] = frozenset()
    moving: frozenset[str] = frozenset()  # groups that turn embeddings into others
    redrawing: frozenset[str] = frozenset()  # groups that give one kind of prompt another mask
    excess: float = 0.0  # by how much the whole is worse than the sum of its parts

    @contextmanager
    def quantized(self, bundle: Any, plan: PrecisionPlan, **_: Any) -> Iterator[PrecisionPlan]:
        if self.stop_after is not None and len(self.plans) >= self.stop_after:
            raise KeyboardInterrupt
        self.plans.append(plan)
        yield plan

    def drop(self, plan: PrecisionPlan) -> float:
        quantized = [row.module for row in plan.modules if row.precision == "int8"]
        return sum(LOSSES.get(name, 0.0) for name in quantized) + (
            self.excess if len(quantized) > 2 else 0.0
        )

    def rows(self, _: Any, plan: Any, *__: Any, **___: Any) -> tuple[int, list[AccuracyRow]]:
        lost = self.drop(plan)
        row = AccuracyRow(
            prompt="box",
            n=9,
            miou_fp32=0.8,
            miou=0.8 - lost,
            drop=lost,
            mask_iou_mean=1 - lost,
            mask_iou_p05=0.5,
        )
        return 3, [row]

    def latencies(self, _: Any, plan: Any, *__: Any, **___: Any) -> tuple[float, float, float]:
        """0.9 to the power of the groups in INT8, and 1.3 for each that is slower."""
        names = [row.module for row in plan.modules if row.precision == "int8"]
        slow = sum(name in self.slower for name in names)
        ratio = 0.9 ** (len(names) - slow) * 1.3**slow
        return ratio, ratio, ratio

    def parity(self, _: Any, plan: Any, photos: Any, *, limits: GraphLimits) -> parity.Parity:
        assert len(photos) == 4
        rows = plan.modules if isinstance(plan, PrecisionPlan) else []
        quantized = {row.module for row in rows if row.precision == "int8"}
        worst = 0.5 if quantized & self.redrawing else 1.0
        masks, even = np.full(4, worst), np.ones(4)
        drawn = parity.Row("mask and point", masks, masks, even, 0.0, 0.0)
        cosine = 0.5 if quantized & self.moving else 1.0
        return parity.Parity(4, (drawn,), (drawn,), (cosine,) * 4, limits)

    def compare(self, _: Any, plan: Any, *__: Any, budget: Budget, timed: bool) -> Accuracy:
        assert timed
        if not isinstance(plan, PrecisionPlan):  # the float bundle
            plan = PrecisionPlan(default="fp32")
        images, rows = self.rows(None, plan)
        return Accuracy(
            truth="annotations",
            images=images,
            rows=rows,
            encode_ratio=0.5,
            decode_ratio=1.0,
            total_ratio=0.6,
            size_ratio=0.4,
            max_drop=budget.max_drop,
            passed=True,  # an undecided loss passes, and counts by its estimate
            verdict="undecided",
        )


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    made = Bench()
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sensitivity, "quantized_predictor", made.quantized)
    monkeypatch.setattr(sensitivity, "mask_rows", made.rows)
    monkeypatch.setattr(sensitivity, "latency_ratios", made.latencies)
    monkeypatch.setattr(search, "quantized_predictor", made.quantized)
    monkeypatch.setattr(search, "latency_ratios", made.latencies)
    monkeypatch.setattr(search, "compare", made.compare)
    monkeypatch.setattr(search, "measure", made.parity)
    return made


@pytest.fixture(scope="module")
def data() -> CalibrationSet:
    return load_calibration()


@pytest.fixture
def fp32(exported: Callable[[str], ExportResult]) -> ExportResult:
    return exported("cpu")


def test_the_sensitive_part_stays_float(
    bench: Bench, data: CalibrationSet, fp32: ExportResult
) -> None:
    found = find_plan(fp32.bundle, data)
    assert found.drops[0].group == WORST
    assert found.drops[0].drop == pytest.approx(0.1)
    assert not found.plan.is_quantized(WORST)
    assert found.plan.is_quantized("image_encoder.mix")
    assert {part.role for part in found.drops} == {"encoder", "decoder"}
    assert found.accuracy.passed


def test_parts_that_fit_alone_but_not_together_go_back(
    bench: Bench, data: CalibrationSet, fp32: ExportResult
) -> None:
    bench.excess = 0.02
    found = find_plan(fp32.bundle, data)
    quantized = [row for row in found.plan.modules if row.precision == "int8"]
    assert len(quantized) == 2
    assert found.accuracy.passed


def test_all_parts_are_taken_where_their_drops_do_not_add_up(
    bench: Bench, data: CalibrationSet, fp32: ExportResult
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bench, "drop", lambda _, plan: 0.004 if len(plan.modules) == 1 else 0.0)
        found = find_plan(fp32.bundle, data)
    assert {row.precision for row in found.plan.modules} == {"int8"}
    assert found.mixes[0].verdict == "chosen"


def test_a_part_that_moves_the_embeddings_goes_back(
    bench: Bench, data: CalibrationSet, fp32: ExportResult
) -> None:
    """Masks may stand it, but the export's parity gate would not."""
    moving = "image_encoder.mix"  # loses more than any other part beside WORST
    bench.moving = frozenset({moving})
    found = find_plan(fp32.bundle, data)
    row = next(row for row in found.plan.modules if row.module == moving)
    assert (row.precision, row.reason) == ("fp32", "fails parity")
    verdicts = [mix.verdict for mix in found.mixes]
    assert "fails parity: image_embeddings (cosine) 0.500, limit 0.970" in verdicts
    assert "chosen" in verdicts


def test_a_decoder_that_fails_one_kind_of_prompt_goes_back(
    bench: Bench, data: CalibrationSet, fp32: ExportResult
) -> None:
    """Boxes and clicks may stand it, and masks as prompts not."""
    groups = sensitivity.groups_of(fp32.bundle)
    bench.redrawing = frozenset(group for group, role in groups if role == "decoder")
    found = find_plan(fp32.bundle, data)
    assert not any(found.plan.is_quantized(group) for group in bench.redrawing)
    assert found.plan.is_quantized("image_encoder.mix")
    assert found.mixes[-1].verdict == "chosen"


def test_no_part_fits(bench: Bench, data: CalibrationSet, fp32: ExportResult) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bench, "drop", lambda *_: 0.3)
        with pytest.raises(CalibrationError, match=r"No mix of .* loses more than the budget"):
            find_plan(fp32.bundle, data)


def test_a_bundle_without_parts_is_told(data: CalibrationSet, fp32: ExportResult) -> None:
    """Nodes of other tools may have no names; there is nothing to choose from then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(quantizer_for(fp32.bundle)), "modules", lambda *_: ())
        with pytest.raises(CalibrationError, match="no part that INT8 can quantize"):
            find_plan(fp32.bundle, data)


def test_an_interrupted_search_goes_on(
    bench: Bench, data: CalibrationSet, fp32: ExportResult
) -> None:
    bench.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        find_plan(fp32.bundle, data)
    bench.stop_after = None
    found = find_plan(fp32.bundle, data)
    singles = itertools.takewhile(lambda plan: len(plan.modules) < 2, bench.plans)
    alone = [plan.modules[0].module for plan in singles if plan.modules]
    assert sorted(alone) == sorted(part.group for part in found.drops)  # none twice
    before = len(bench.plans)
    assert find_plan(fp32.bundle, data) == found
    assert len(bench.plans) == before + len(found.mixes)  # the mixes alone are measured again


def test_one_group_alone_is_quantized(data: CalibrationSet, fp32: ExportResult) -> None:
    """Without a stand-in: the embedding changes, and by little."""
    plan = PrecisionPlan(default="fp32", modules=[PlanRow(module=WORST, precision="int8")])
    picture = next(data.pictures())
    quantizer = base.get("qdq_unsigned")
    assert quantizer_for(fp32.bundle) is quantizer
    with (
        Predictor.from_bundle(fp32.bundle.path) as reference,
        quantized_predictor(
            fp32.bundle, plan, feeds=RoleFeeds(fp32.bundle, data), quantizer=quantizer
        ) as subject,
    ):
        expected, measured = reference.encode(picture).data, subject.encode(picture).data
    error = float(np.abs(expected - measured).mean() / np.abs(expected).mean())
    print(f"relative error {error:.4f}")
    assert 0 < error < 0.2


def test_feeds_are_made_once(
    data: CalibrationSet, fp32: ExportResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = RoleFeeds(fp32.bundle, data)
    for role in ("encoder", "decoder"):
        first = list(feeds.source(role)())
        monkeypatch.setattr(CalibrationSet, "pictures", lambda _: iter(()))
        again = list(feeds.source(role)())
        few = list(feeds.few().source(role)())
        monkeypatch.undo()
        assert len(again) == len(first) > 0
        assert len(few) == (len(first) if role == "encoder" else -(-len(first) // 5))
        assert all(one is other for one, other in zip(first, again, strict=True))


def test_a_group_is_compared_with_the_float_that_int8_replaces(
    bench: Bench, data: CalibrationSet, fp32: ExportResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the float rest of an INT8 bundle loses by itself must not count once for every group."""
    compared: list[PrecisionPlan] = []
    plain = scenes.Reference

    def reference(predictor: Any, *rest: Any, **options: Any) -> Any:
        compared.append(predictor)
        return plain(predictor, *rest, **options)

    monkeypatch.setattr(sensitivity, "Reference", reference)
    find_plan(fp32.bundle, data)
    (plan,) = compared
    assert plan is bench.plans[0]
    assert not plan.modules


@pytest.mark.parametrize("changed", ["library", "processor", "bundle"])
def test_figures_of_another_library_or_machine_are_measured_again(
    bench: Bench,
    data: CalibrationSet,
    fp32: ExportResult,
    monkeypatch: pytest.MonkeyPatch,
    changed: str,
) -> None:
    find_plan(fp32.bundle, data)
    file = sensitivity._file(fp32.bundle, data, sensitivity.MAX_IMAGES)
    assert sensitivity._remembered(file)
    bundle = copy.copy(fp32.bundle)
    if changed == "library":
        monkeypatch.setattr(sensitivity, "package_versions", lambda names: {"onnxruntime": "9"})
    elif changed == "processor":
        other = {**machine_identity(), "processor": "another"}
        monkeypatch.setattr(sensitivity, "machine_identity", lambda: other)
    else:
        bundle.manifest = msgspec.structs.replace(bundle.manifest, id="another")
    assert not sensitivity._remembered(sensitivity._file(bundle, data, sensitivity.MAX_IMAGES))


def test_only_fp32_bundles_are_calibrated(fp32: ExportResult) -> None:
    bundle = copy.copy(fp32.bundle)
    bundle.manifest = msgspec.structs.replace(bundle.manifest, precision="bf16")
    with pytest.raises(CalibrationError, match="bundle in bf16, expected fp32"):
        quantizer_for(bundle)


def test_the_command_writes_the_plan(bench: Bench, fp32: ExportResult, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    arguments = ["calibrate", str(fp32.bundle.path), "-o", str(plan), "--json", "-q"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["schema"] == "samedge.calibrate/1"
    assert document["drops"][0]["group"] == WORST
    assert load_plan(plan).precision_of(WORST).value == "fp32"


def test_a_part_that_is_slower_in_int8_stays_float(
    bench: Bench, data: CalibrationSet, fp32: ExportResult
) -> None:
    bench.slower = frozenset({"image_encoder.mix"})
    found = find_plan(fp32.bundle, data)
    assert not found.plan.is_quantized("image_encoder.mix")
    row = next(row for row in found.plan.modules if row.module == "image_encoder.mix")
    assert row.reason == "slower in INT8: 1.30 of the latency"
    assert [mix.verdict for mix in found.mixes] == [
        "loses more than the budget",
        "slower than the chosen one",
        "chosen",
        "not faster than float: 1.30 of its latency",
    ]


def test_int8_that_is_never_faster_is_not_used(
    bench: Bench, data: CalibrationSet, fp32: ExportResult
) -> None:
    bench.slower = frozenset(group for group, _ in sensitivity.groups_of(fp32.bundle))
    found = find_plan(fp32.bundle, data)
    assert {row.precision for row in found.plan.modules} == {"fp32"}
    assert found.mixes[1].verdict.startswith("not faster than float")
    assert found.mixes[-1].groups == []
    assert found.mixes[-1].verdict == "chosen"


def test_drops_are_told_by_kind_of_prompt(
    bench: Bench, data: CalibrationSet, fp32: ExportResult
) -> None:
    worst = find_plan(fp32.bundle, data).drops[0]
    assert worst.drops == {"box": pytest.approx(0.1)}
    assert worst.latency_ratio == pytest.approx(0.9)


def test_the_plan_comes_back_edited(bench: Bench, fp32: ExportResult, tmp_path: Path) -> None:
    """Written by the command, changed by hand, and read again."""
    path = tmp_path / "plan.json"
    assert (
        CliRunner().invoke(cli, ["calibrate", str(fp32.bundle.path), "-o", str(path)]).exit_code
        == 0
    )
    text = json.loads(path.read_text())
    for row in text["modules"]:
        if row["module"] == WORST:
            row.update(precision="int8", reason="by hand")
    path.write_text(json.dumps(text))
    plan = load_plan(path)
    assert plan.is_quantized(WORST)
    assert next(row.reason for row in plan.modules if row.module == WORST) == "by hand"


def test_the_command_draws_the_plot(bench: Bench, fp32: ExportResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.svg"
    result = CliRunner().invoke(cli, ["calibrate", str(fp32.bundle.path), "--plot", str(path)])
    assert result.exit_code == 0, result.output
    assert WORST in path.read_text()
    assert "slower in INT8" not in result.stdout
    assert "0.90" in result.stdout
