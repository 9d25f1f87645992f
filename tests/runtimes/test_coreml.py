"""The Core ML backend against a stand-in for coremltools' runtime: what it asks, what it answers.

The real thing needs a Mac; there, the contract tests run it.
"""

from __future__ import annotations

import importlib
import platform
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import BackendUnavailableError, InferenceError, UnknownNameError
from samedge.runtimes._coreml import BACKEND
from samedge.runtimes.mil.example import write_coreml_example


class FakeModel:
    """Computes the toy graph of the contract tests as ``MLModel.predict`` would be asked to."""

    opened: tuple[Any, ...] = ()

    def __init__(self, path: str, *, compute_units: str, function_name: str | None) -> None:
        type(self).opened = (path, compute_units, function_name)
        self.compute_unit = compute_units

    def predict(self, feeds: dict[str, Any]) -> dict[str, Any]:
        picture = np.asarray(feeds["image"])
        assert picture.shape == (2, 2, 3)
        halved = picture[None].astype(np.float64) / 2
        return {"doubled": 2 * feeds["points"] + 1, "halved": halved}

    def get_compiled_model_path(self) -> str:
        return "toy.mlmodelc"


class MLNeuralEngineComputeDevice:
    """Named as in coremltools."""


class MLCPUComputeDevice:
    """Named as in coremltools."""


class FakePlan:
    """Three operations: one on each engine, and a constant."""

    def __init__(self) -> None:
        block = types.SimpleNamespace(operations=["conv", "gather", "const"])
        functions = {"main": types.SimpleNamespace(block=block)}
        program = types.SimpleNamespace(functions=functions)
        self.model_structure = types.SimpleNamespace(program=program)

    @classmethod
    def load_from_path(cls, *, path: str, compute_units: str) -> FakePlan:
        assert (path, compute_units) == ("toy.mlmodelc", "unit CPU_AND_NE")
        return cls()

    def get_compute_device_usage_for_mlprogram_operation(self, operation: str) -> Any:
        engines = {"conv": MLNeuralEngineComputeDevice(), "gather": MLCPUComputeDevice()}
        engine = engines.get(operation)
        return engine and types.SimpleNamespace(preferred_compute_device=engine)

    def get_estimated_cost_for_mlprogram_operation(self, operation: str) -> Any:
        weights = {"conv": 0.6, "gather": 0.2}
        return types.SimpleNamespace(weight=weights[operation]) if operation in weights else None


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Pretend to be a Mac whose coremltools is the stand-in above."""
    real = importlib.import_module
    units = ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")
    library = types.SimpleNamespace(
        models=types.SimpleNamespace(MLModel=FakeModel),
        ComputeUnit=types.SimpleNamespace(**{name: f"unit {name}" for name in units}),
    )
    fakes = {
        "coremltools": library,
        "coremltools.models.compute_plan": types.SimpleNamespace(MLComputePlan=FakePlan),
    }

    def fake_import(name: str, package: str | None = None) -> Any:
        return fakes[name] if name in fakes else real(name, package)

    monkeypatch.setattr(importlib, "import_module", fake_import)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("14.5", ("", "", ""), "arm64"))
    return fakes.clear


@pytest.fixture(scope="module")
def toy(coremltools: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coreml_example(tmp_path_factory.mktemp("toy"))


FEEDS: dict[str, Any] = {
    "points": np.arange(6, dtype=np.float32).reshape(2, 3),
    "image": np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3),
}


def test_elsewhere_it_says_why_not(monkeypatch: pytest.MonkeyPatch, toy: Path) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    probe = BACKEND.probe()
    assert not probe.available
    assert "the mil backend" in probe.detail
    with pytest.raises(BackendUnavailableError, match=r"pip install .*# on a Mac"):
        BACKEND.open(toy)


@pytest.mark.parametrize(
    ("device", "units"),
    [
        (None, "ALL"),
        ("all", "ALL"),
        ("cpu+ne", "CPU_AND_NE"),
        ("cpu+gpu", "CPU_AND_GPU"),
        ("cpu", "CPU_ONLY"),
    ],
)
def test_devices_are_compute_units(mac: Any, toy: Path, device: str | None, units: str) -> None:
    with BACKEND.open(toy, device=device) as session:
        assert session.device == (device or "all")
    assert FakeModel.opened == (str(toy), f"unit {units}", None)


def test_pictures_and_arrays_go_in_and_float32_comes_out(mac: Any, toy: Path) -> None:
    with BACKEND.open(toy) as session:
        results = session.run(FEEDS)
    np.testing.assert_array_equal(results["doubled"], 2 * FEEDS["points"] + 1)
    np.testing.assert_array_equal(results["halved"], FEEDS["image"] / 2)
    assert {array.dtype for array in results.values()} == {np.dtype("float32")}


def test_residency_shares_the_cost(mac: Any, toy: Path) -> None:
    session = BACKEND.open(toy, device="cpu+ne")
    assert session.residency() == pytest.approx({"ne": 0.75, "cpu": 0.25})
    session.close()
    with pytest.raises(InferenceError, match="closed"):
        session.residency()


def test_residency_needs_a_new_system(mac: Any, toy: Path) -> None:
    session = BACKEND.open(toy, device="cpu")  # the stand-in's plan refuses this unit
    with pytest.raises(InferenceError, match=r"macOS 14\.4"):
        session.residency()


def test_wrong_function_and_device(mac: Any, toy: Path) -> None:
    with pytest.raises(UnknownNameError, match="'mian'"):
        BACKEND.open(toy, options={"function": "mian"})
    with pytest.raises(BackendUnavailableError, match="'npu'"):
        BACKEND.open(toy, device="npu")


def test_damaged_package(mac: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(InferenceError, match=r"no Manifest\.json"):
        BACKEND.open(tmp_path / "empty.mlpackage")
