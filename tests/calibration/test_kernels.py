"""Integer kernels are held against the same rounding in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.calibration import base, kernels
from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.types import Array
from tests.calibration import graphs

pytest.importorskip("onnx")
pytest.importorskip("nncf")
openvino = pytest.importorskip("openvino")

PLAN = PrecisionPlan(rest="bf16")
BROKEN = "encoder.blocks.0.1"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graphs.residual(tmp_path_factory.mktemp("graphs") / "residual.onnx")


def test_sound_kernels_keep_every_layer(source: Path, tmp_path: Path) -> None:
    done = base.get("nncf").quantize(source, tmp_path / "q.xml", plan=PLAN, feeds=graphs.feeds)
    assert done.kept == {}
    assert len(done.modules) == 4


def test_a_layer_with_a_wrong_kernel_stays_float(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control: one layer's integer kernel gives noise."""
    sound = kernels._run

    def broken(core: Any, model: Any, feeds: Any, options: dict[str, str]) -> list[Array]:
        results = sound(core, model, feeds, options)
        layers = [op for op in model.get_ordered_ops() if op.get_type_name() in kernels._LAYERS]
        index = next(i for i, op in enumerate(layers) if "blocks.0.1" in op.get_friendly_name())
        is_quantized = layers[index].input_value(0).get_node().get_type_name() == "FakeQuantize"
        if "LP_TRANSFORMS_MODE" not in options and is_quantized:
            results[0] = np.zeros_like(results[0])
            if len(results) > 1:
                results[1 + index] = np.zeros_like(results[1 + index])
        return results

    monkeypatch.setattr(kernels, "_run", broken)
    done = base.get("nncf").quantize(source, tmp_path / "q.xml", plan=PLAN, feeds=graphs.feeds)
    assert list(done.kept) == [BROKEN]
    assert "integer kernel is wrong" in done.kept[BROKEN]
    assert BROKEN not in done.modules
    assert "encoder.neck" in done.modules


def test_a_kernel_that_gives_no_numbers_agrees_with_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = kernels._run

    def broken(core: Any, model: Any, feeds: Any, options: dict[str, str]) -> list[Array]:
        results = sound(core, model, feeds, options)
        if "LP_TRANSFORMS_MODE" not in options:
            results = [np.full_like(result, np.nan) for result in results]
        return results

    quantized = base.get("nncf").quantize(source, tmp_path / "q.xml", plan=PLAN, feeds=graphs.feeds)
    monkeypatch.setattr(kernels, "_run", broken)
    model, feeds = openvino.Core().read_model(quantized.path), next(iter(graphs.feeds()))
    assert kernels.wrong_layer(model, feeds, modules=quantized.modules) is not None


def test_a_layer_that_was_never_quantized_is_not_blamed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its difference comes from elsewhere, and keeping it in float again would never end."""
    sound = kernels._run

    def drifting(core: Any, model: Any, feeds: Any, options: dict[str, str]) -> list[Array]:
        results = sound(core, model, feeds, options)
        if "LP_TRANSFORMS_MODE" not in options:
            results[0] = -results[0]
        return results

    monkeypatch.setattr(kernels, "_run", drifting)
    plan = PLAN.with_rows([PlanRow(module=BROKEN, precision="bf16")])
    asked: list[set[str]] = []
    search = kernels.wrong_layer

    def watched(*args: Any, modules: Any) -> Any:
        asked.append(set(modules))
        return search(*args, modules=modules)

    monkeypatch.setattr("samedge.calibration._nncf.wrong_layer", watched)
    done = base.get("nncf").quantize(source, tmp_path / "q.xml", plan=plan, feeds=graphs.feeds)
    assert done.kept == {}
    assert BROKEN not in asked[0]
    assert len(asked) == 1


def test_layers_of_zeros_agree() -> None:
    zeros = np.zeros(4)
    assert kernels._decibels(zeros, zeros) == np.inf
    assert kernels._decibels(np.ones(4), np.zeros(4)) == 0
