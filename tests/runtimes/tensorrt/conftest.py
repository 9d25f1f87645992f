"""Stand-ins of TensorRT and CUDA in the place of the modules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from samedge.formats.results import Masks
from samedge.predict.predictor import Predictor
from samedge.runtimes.tensorrt import engines
from samedge.runtimes.tensorrt.builder import BuildJob, BuildReport
from tests.runtimes.tensorrt.jobs import PICTURE, PROMPTS, write
from tests.toys import tensorrt as toys
from tests.toys.cuda import CudaRuntime


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the engines of another one."""
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaRuntime:
    standin = CudaRuntime()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", standin)
    return standin


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def trt(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, cuda: CudaRuntime
) -> toys.TensorRt:
    standin = toys.TensorRt(request.param, cuda)
    monkeypatch.setitem(sys.modules, request.param, standin)
    monkeypatch.setattr("importlib.metadata.version", lambda name: standin.__version__)
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, package=None: standin.__spec__ if name == request.param else None,
    )
    return standin


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[BuildJob]:
    """Builds write what the ONNX file holds, which is the stand-in's engine."""
    done: list[BuildJob] = []

    def build(job: BuildJob, *, progress: Any, stage: Any) -> BuildReport:
        done.append(job)
        assert job.engine is not None
        Path(job.engine).write_bytes(Path(job.onnx).read_bytes())
        return BuildReport(version="10.3.0", bytes=1)

    monkeypatch.setattr(engines, "build", build)
    return done


@pytest.fixture
def toy(tmp_path: Path, trt: toys.TensorRt, jobs: list[BuildJob]) -> Path:
    return write(tmp_path, toys.TOY)


@pytest.fixture
def expected(toy_bundle: Path) -> list[Masks]:
    """What ONNX Runtime makes of the toy bundle; needed before the stand-ins hide it."""
    with Predictor.from_bundle(toy_bundle, backend="onnxruntime") as predictor:
        return predictor.decode_batch(predictor.encode(PICTURE), PROMPTS)
