"""Integer kernels are held against the same rounding in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.calibration import base, kernels
from samedge.calibration.plan import PrecisionPlan
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
