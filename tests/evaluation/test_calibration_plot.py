"""tools/plot_calibration.py: what a model says of its masks against what they are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest

from samedge import records
from samedge.records import EvalRecord
from samedge.records.accuracy import DatasetRecord, ScoredInstance

pytest.importorskip("matplotlib")
TOOL = Path(__file__).resolve().parents[2] / "tools" / "plot_calibration.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plot_calibration", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plot_calibration"] = module
    spec.loader.exec_module(module)
    return module


def scores(bundle: str, prompt: str, *, bias: float, seed: int = 0) -> list[ScoredInstance]:
    """Instances whose masks have the IoU that was predicted, less a bias and noise."""
    random = np.random.default_rng(seed)
    predicted = random.uniform(0.3, 0.9, 200)
    measured = np.clip(predicted - bias + random.normal(0, 0.02, 200), 0, 1)
    return [
        ScoredInstance(
            image=f"{index // 5}.jpg",
            annotation_id=index,
            area=900.0,
            iou=float(m),
            boundary_iou=0.5,
            oracle_iou=None,
            predicted_iou=float(p),
            ious_by_click=None,
            rle={"size": [1, 1], "counts": "01"},
            bundle=bundle,
            backend="onnxruntime",
            prompt=prompt,
        )
        for index, (p, m) in enumerate(zip(predicted, measured, strict=True))
    ]


def record(*instances: ScoredInstance) -> EvalRecord:
    dataset = DatasetRecord(path="d.json", images=40, instances=200)
    return EvalRecord(dataset=dataset, results=[], instances=list(instances) or None)


def test_figures_say_how_far_predictions_are_off(tool: ModuleType) -> None:
    made = record(*scores("a", "box", bias=0.0), *scores("a", "center", bias=0.2))
    true, high = tool.calibrations(made, bundle=None, bins=8)
    assert (true.prompt, high.prompt) == ("box", "center")
    assert abs(true.bias) < 0.01
    assert true.error < 0.02
    assert high.bias == pytest.approx(0.2, abs=0.01)
    assert high.error == pytest.approx(0.2, abs=0.02)
    assert high.rank_correlation > 0.97
    assert [b.count for b in high.bins] == [25] * 8
    for each in true.bins:
        assert each.interval[0] <= each.measured <= each.interval[1]


def test_equal_predictions_put_nothing_in_order(tool: ModuleType) -> None:
    ranks = tool._ranks(np.array([0.5, 0.5, 0.1, 0.9]))
    assert ranks.tolist() == [1.5, 1.5, 0.0, 3.0]


def test_command_draws_and_prints(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, drawn = tmp_path / "eval.json", tmp_path / "drawn.svg"
    records.write(record(*scores("a", "box", bias=0.1), *scores("b", "box", bias=0.0)), path)
    tool.main([str(path), "--bundle", "a", "-o", str(drawn)], standalone_mode=False)
    assert drawn.read_text().startswith("<?xml")
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed.startswith("| box | +0.1")


def test_what_cannot_be_drawn_is_said(tool: ModuleType) -> None:
    two = record(*scores("a", "box", bias=0.1), *scores("b", "box", bias=0.0))
    with pytest.raises(click.UsageError, match="one subject: there is a on onnxruntime, b on"):
        tool.calibrations(two, bundle=None, bins=4)
    with pytest.raises(click.UsageError, match="samedge eval --instances"):
        tool.calibrations(record(), bundle=None, bins=4)
    with pytest.raises(click.UsageError, match="200 instances are too few for 150 bins"):
        tool.calibrations(two, bundle="a", bins=150)
