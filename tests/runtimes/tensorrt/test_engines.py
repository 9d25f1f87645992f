"""Engines are built once, kept, checked and built again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from samedge import _cache
from samedge.errors import BackendUnavailableError, InferenceError
from samedge.runtimes.tensorrt import cuda as cuda_module
from samedge.runtimes.tensorrt import engines
from samedge.runtimes.tensorrt.builder import BuildJob, BuildReport
from samedge.runtimes.tensorrt.cache import keep_engine
from samedge.runtimes.tensorrt.engines import Device, EngineWish, engine_for
from samedge.runtimes.tensorrt.flavours import flavour_named
from tests.runtimes.tensorrt.jobs import BACKEND
from tests.toys import tensorrt as toys
from tests.toys.cuda import CudaRuntime


def test_an_engine_is_built_once(toy: Path, jobs: list[BuildJob]) -> None:
    for _ in range(3):
        BACKEND.open(toy).close()
    assert len(jobs) == 1
    assert len(list(toy.parent.glob("toy.*.engine"))) == 1


@pytest.mark.parametrize("change", ["graph", "version", "shapes", "tf32"])
def test_an_engine_of_something_else_is_not_opened(
    toy: Path, trt: toys.TensorRt, jobs: list[BuildJob], change: str
) -> None:
    BACKEND.open(toy).close()
    options: dict[str, Any] = {}
    shapes = [{"points": (4, 3)}] if change == "shapes" else []
    if change == "graph":
        toy.write_text(toy.read_text() + " ")
    elif change == "version":
        trt.__version__ = "10.4.0"
    elif change == "tf32":
        options = {"tf32": True}
    BACKEND.open(toy, options=options, shapes=shapes).close()
    assert len(jobs) == 2


def test_an_engine_of_a_graph_that_changes_while_it_is_built_is_not_kept(
    toy: Path, jobs: list[BuildJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would lie under the name of the graph that was there before."""
    build: Callable[..., BuildReport] = vars(engines)["build"]  # the one of `jobs`

    def replaced(job: BuildJob, **told: Any) -> BuildReport:
        toy.write_text(toy.read_text() + " ")
        return build(job, **told)

    monkeypatch.setattr(engines, "build", replaced)
    with pytest.raises(InferenceError, match="changed while its engine was built"):
        BACKEND.open(toy)
    assert list(toy.parent.glob("toy.*.engine")) == []
    monkeypatch.setattr(engines, "build", build)
    BACKEND.open(toy).close()
    assert len(jobs) == 2


def test_another_gpu_needs_another_engine_only_where_kernels_are_timed(
    toy: Path, trt: toys.TensorRt, cuda: CudaRuntime, jobs: list[BuildJob], monkeypatch: Any
) -> None:
    BACKEND.open(toy).close()
    other = type("Properties", (), {"name": b"NX", "major": 8, "minor": 7, "integrated": 1})
    monkeypatch.setattr(cuda, "cudaGetDeviceProperties", lambda index: (0, other), raising=False)
    BACKEND.open(toy).close()
    assert len(jobs) == (2 if trt.__name__ == "tensorrt" else 1)


@pytest.mark.parametrize("damage", ["cut", "flipped", "other key"])
def test_a_damaged_engine_is_built_again(
    toy: Path, jobs: list[BuildJob], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    BACKEND.open(toy).close()
    path = next(toy.parent.glob("*.engine"))
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.write_bytes(content.replace(b'"8.7"', b'"8.6"', 1))
    BACKEND.open(toy).close()
    assert len(jobs) == 2
    assert "is damaged" in caplog.text
    assert path.read_bytes() == content


def test_an_engine_that_came_with_the_files_is_not_loaded(
    toy: Path, tmp_path: Path, jobs: list[BuildJob], caplog: pytest.LogCaptureFixture
) -> None:
    """It is native code: only what was built on this machine is opened."""
    BACKEND.open(toy).close()
    copy = shutil.copytree(toy.parent, tmp_path / "from elsewhere")
    BACKEND.open(copy / toy.name).close()
    assert len(jobs) == 2
    assert "was not built here" in caplog.text
    BACKEND.open(copy / toy.name).close()
    assert len(jobs) == 2


def test_where_nothing_can_be_kept_an_engine_is_built_each_time(
    toy: Path, jobs: list[BuildJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cache, "keep", lambda path, content: False)
    BACKEND.open(toy).close()
    BACKEND.open(toy).close()
    assert len(jobs) == 2


def test_building_can_be_forbidden(toy: Path, jobs: list[BuildJob]) -> None:
    with pytest.raises(BackendUnavailableError, match=r"building is off. Fix: samedge build"):
        BACKEND.open(toy, options={"build": False})
    assert not jobs


def test_a_read_only_bundle_keeps_its_engines_in_the_cache(
    toy: Path, jobs: list[BuildJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = _cache.keep

    def refuse(path: Path, content: bytes) -> bool:
        return path.parent != toy.parent and keep(path, content)

    monkeypatch.setattr(_cache, "keep", refuse)
    BACKEND.open(toy).close()
    BACKEND.open(toy).close()
    assert len(jobs) == 1
    assert not list(toy.parent.glob("*.engine"))


def test_the_first_use_says_that_it_builds(
    toy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    silent: Callable[..., BuildReport] = vars(engines)["build"]

    def build(job: BuildJob, *, progress: Any, stage: Any) -> BuildReport:
        for _ in range(3):
            stage("Tactics")
        return silent(job, progress=progress, stage=stage)

    monkeypatch.setattr(engines, "build", build)
    for _ in range(2):
        BACKEND.open(toy).close()
    assert caplog.text.count("Building the engine of toy.onnx") == 1


def test_two_processes_build_one_engine(toy: Path, jobs: list[BuildJob]) -> None:
    """The second waits at the lock and then finds what the first has built."""
    wish = EngineWish(flavour=flavour_named(), device=Device(gpu="Orin", capability="8.7"))
    key = wish.key(toy)
    with ThreadPoolExecutor(1) as pool, engines._alone(toy, key):
        second = pool.submit(engine_for, toy, wish)
        keep_engine(toy, key, engine=b"the first's")
    assert second.result().content == b"the first's"
    assert not jobs


def test_without_a_lock_an_engine_is_built_all_the_same(
    toy: Path, jobs: list[BuildJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", "/proc/nowhere")
    BACKEND.open(toy).close()
    assert len(jobs) == 1


@pytest.mark.parametrize(
    ("available", "integrated", "expected"),
    [(6_000_000_000, 1, 3_000_000_000), (6_000_000_000, 0, 2_000_000_000), (0, 1, 2_000_000_000)],
)
def test_half_of_the_free_memory_is_workspace(
    toy: Path,
    cuda: CudaRuntime,
    jobs: list[BuildJob],
    monkeypatch: pytest.MonkeyPatch,
    available: int,
    integrated: int,
    expected: int,
) -> None:
    """CUDA says 4 GB; where the memory is the processor's too, the kernel knows better."""
    monkeypatch.setattr(cuda_module, "available_memory", lambda: available)
    cuda.integrated = integrated
    BACKEND.open(toy).close()
    assert jobs[0].workspace_bytes == expected


def test_available_memory_is_the_kernels_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"MemTotal": 8_000_000, "MemFree": 100, "MemAvailable": 4_096_000}
    monkeypatch.setattr(cuda_module, "memory_bytes", lambda: told)
    assert cuda_module.available_memory() == 4_096_000
    monkeypatch.setattr(cuda_module, "memory_bytes", dict)
    assert cuda_module.available_memory() == 0


def test_preparing_builds_the_engine_that_opening_finds(toy: Path, jobs: list[BuildJob]) -> None:
    shapes = [{"points": (1, 3)}]
    BACKEND.prepare(toy, shapes=shapes)
    assert len(jobs) == 1
    BACKEND.open(toy, options={"build": False}, shapes=shapes).close()
    assert len(jobs) == 1


def test_the_job_carries_profiles_workspace_and_timings(
    toy: Path, trt: toys.TensorRt, jobs: list[BuildJob]
) -> None:
    shapes = [{"points": (1, 3)}, {"points": (16, 3)}]
    BACKEND.open(toy, options={"workspace_mb": 2000}, shapes=shapes).close()
    (job,) = jobs
    assert job.profiles == shapes
    assert job.workspace_bytes == 2_000_000_000
    assert not job.tf32
    if trt.__name__ == "tensorrt":
        assert job.capabilities == []
        assert job.timing_cache is not None
        assert Path(job.timing_cache).name == "10.3.0-Orin-8.7.timings"
    else:
        assert job.capabilities == ["8.7"]
        assert job.timing_cache is None
