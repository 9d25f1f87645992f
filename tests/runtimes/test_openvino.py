"""What is particular to OpenVINO: its hints, precisions and cache of compiled graphs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge._cache import cache_folder
from samedge.errors import UnknownNameError

openvino: Any = pytest.importorskip("openvino")

BACKEND = runtimes.get("openvino")


def write_matmul(path: Path, weights: np.ndarray) -> None:
    ops = openvino.opset13
    x = ops.parameter([1, len(weights)], np.float32, name="x")
    x.output(0).set_names({"x"})
    y = ops.matmul(x, ops.constant(weights.astype(np.float32)), False, False)
    y.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([y], [x], "matmul"), path, compress_to_fp16=False)


@pytest.fixture
def graph(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    write_matmul(tmp_path / "matmul.xml", rng.normal(size=(64, 64)))
    return tmp_path / "matmul.xml"


def compiled_properties(monkeypatch: pytest.MonkeyPatch, graph: Path, **options: Any) -> Any:
    """What reaches ``compile_model``."""
    from samedge.runtimes import _openvino

    seen: list[dict[str, Any]] = []
    core = _openvino._core()

    class Watched:
        available_devices = core.available_devices

        def compile_model(self, path: str, device: str, properties: dict[str, Any]) -> Any:
            seen.append(properties)
            return core.compile_model(path, device, properties)

    monkeypatch.setattr(_openvino, "_core", Watched)
    BACKEND.open(graph, options=options).close()
    return seen[0]


def test_latency_hint_and_precision_are_given(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    properties = compiled_properties(monkeypatch, graph, threads=1, inference_precision="bf16")
    assert properties["PERFORMANCE_HINT"] == "LATENCY"
    assert properties["INFERENCE_PRECISION_HINT"] == "bf16"
    assert properties["INFERENCE_NUM_THREADS"] == 1
    assert Path(properties["CACHE_DIR"]).is_relative_to(cache_folder("openvino"))


def test_cache_can_be_left_out(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CACHE_DIR" not in compiled_properties(monkeypatch, graph, cache=False)
    assert not cache_folder("openvino").exists()


def test_default_is_exact(graph: Path) -> None:
    x = np.random.default_rng(1).normal(size=(1, 64)).astype(np.float32)
    with (
        BACKEND.open(graph) as exact,
        BACKEND.open(graph, options={"inference_precision": "bf16"}) as rough,
    ):
        assert exact.inference_precision == "f32"  # type: ignore[attr-defined]
        difference = np.abs(exact.run({"x": x})["y"] - rough.run({"x": x})["y"]).max()
        if rough.inference_precision == "f32":  # type: ignore[attr-defined]
            assert difference == 0  # this processor has no bf16, and says so
        else:
            assert 0 < difference < 1


def test_unknown_precision(graph: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"inference_precision.*'bf16'"):
        BACKEND.open(graph, options={"inference_precision": "bf15"})


def test_compiled_graph_is_kept(graph: Path) -> None:
    BACKEND.open(graph).close()
    blobs = list(cache_folder("openvino").rglob("*.blob"))
    assert len(blobs) == 1
    written = blobs[0].stat().st_mtime_ns
    BACKEND.open(graph).close()
    assert [p.stat().st_mtime_ns for p in cache_folder("openvino").rglob("*.blob")] == [written]


def test_new_weights_under_the_old_name_and_date(graph: Path) -> None:
    """OpenVINO's own key overlooks them."""
    date = graph.stat().st_mtime_ns
    x = np.ones((1, 64), np.float32)
    with BACKEND.open(graph) as session:
        old = session.run({"x": x})["y"]
    weights = np.random.default_rng(7).normal(size=(64, 64)).astype(np.float32)
    write_matmul(graph, weights)
    os.utime(graph, ns=(date, date))
    with BACKEND.open(graph) as session:
        new = session.run({"x": x})["y"]
    assert not np.allclose(new, old)
    np.testing.assert_allclose(new, x @ weights, rtol=1e-4, atol=1e-4)
