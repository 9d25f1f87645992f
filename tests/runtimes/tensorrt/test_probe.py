"""What is said where a GPU or a library is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from samedge.bundle.bundle import Bundle
from samedge.errors import (
    BackendUnavailableError,
)
from samedge.runtimes.tensorrt.bundles import build_bundle
from tests.runtimes.tensorrt.jobs import BACKEND
from tests.toys import tensorrt as toys
from tests.toys.cuda import CudaRuntime


def test_no_gpu_is_told_by_a_build(trt: toys.TensorRt, cuda: CudaRuntime, toy_bundle: Path) -> None:
    bundle = Bundle.open(toy_bundle)
    cuda.gpus = 0
    with pytest.raises(BackendUnavailableError, match=r"finds no NVIDIA GPU.* Fix: sudo apt"):
        build_bundle(bundle, flavour=trt.__name__.replace("_", "-"))
    cuda.gpus = 1
    with pytest.raises(BackendUnavailableError, match="no GPU 3 here, only 1"):
        build_bundle(bundle, flavour=trt.__name__.replace("_", "-"), device=3)


def test_no_gpu_is_found_by_the_probe(trt: toys.TensorRt, cuda: CudaRuntime) -> None:
    cuda.gpus = 0
    probe = BACKEND.probe()
    assert not probe.available
    assert "finds no NVIDIA GPU" in probe.detail
    assert probe.fix


def test_no_library_ends_in_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    probe = BACKEND.probe()
    assert probe.detail == "No tensorrt or tensorrt-rtx is installed."
    with pytest.raises(BackendUnavailableError, match="apt install python3-libnvinfer"):
        BACKEND.open(tmp_path / "a.onnx")


def test_no_cuda_python_ends_in_the_command(
    trt: toys.TensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    probe = BACKEND.probe()
    assert not probe.available
    assert probe.fix == "pip install 'samedge[tensorrt]'"


def test_every_gpu_is_a_device(trt: toys.TensorRt, cuda: CudaRuntime) -> None:
    cuda.gpus = 2
    assert BACKEND.probe().devices == ("cuda:0", "cuda:1")


def test_the_stand_in_has_the_real_runtimes_functions() -> None:
    """What the stand-in offers, the real module does."""
    real = pytest.importorskip("cuda.bindings.runtime")
    ours = [name for name in dir(CudaRuntime) if name.startswith("cuda")]
    assert len(ours) > 15
    assert [name for name in ours if not hasattr(real, name)] == []
