"""The TensorRT backend against stand-ins of its two native modules: calls, lifetimes, errors."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import _cache, runtimes
from samedge.bundle.bundle import Bundle
from samedge.errors import (
    BackendUnavailableError,
    InferenceError,
    OptionError,
    TensorMismatchError,
    UnknownNameError,
)
from samedge.formats.results import Masks
from samedge.predict.predictor import Predictor
from samedge.runtimes.tensorrt import cuda as cuda_module
from samedge.runtimes.tensorrt import engines
from samedge.runtimes.tensorrt.builder import BuildJob, BuildReport
from samedge.runtimes.tensorrt.bundles import build_bundle
from samedge.runtimes.tensorrt.cache import keep_engine
from samedge.runtimes.tensorrt.engines import Device, EngineWish, engine_for
from samedge.runtimes.tensorrt.flavours import flavour_named
from samedge.types import Prompt
from tests.toys import tensorrt as toys

BACKEND = runtimes.get("tensorrt")


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the engines of another one."""
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> toys.CudaRuntime:
    standin = toys.CudaRuntime()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", standin)
    return standin


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def trt(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, cuda: toys.CudaRuntime
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


def write(folder: Path, spec: toys.Spec) -> Path:
    path = folder / f"{spec['compute']}.onnx"
    path.write_text(json.dumps(spec))
    return path


@pytest.fixture
def toy(tmp_path: Path, trt: toys.TensorRt, jobs: list[BuildJob]) -> Path:
    return write(tmp_path, toys.TOY)


def feeds(batch: int = 3, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "points": random.normal(size=(batch, 3)).astype(np.float32),
        "image": random.integers(0, 255, (1, 2, 2, 3), np.uint8),
    }


def check(results: dict[str, Any], given: dict[str, Any]) -> None:
    np.testing.assert_allclose(results["doubled"], 2 * given["points"] + 1)
    np.testing.assert_allclose(results["halved"], given["image"] / np.float32(2))


def test_runs_of_any_shape_compute_the_graph(toy: Path) -> None:
    with BACKEND.open(toy) as session:
        for seed, batch in enumerate((3, 3, 1, 3, 16, 2, 2, 1, 16)):
            check(session.run(feeds(batch, seed)), feeds(batch, seed))


def test_specs_are_the_engines(toy: Path) -> None:
    with BACKEND.open(toy) as session:
        assert [str(spec) for spec in session.inputs] == [
            "points: float32(axis0, 3)",
            "image: uint8(1, 2, 2, 3)",
        ]
        assert [spec.name for spec in session.outputs] == ["doubled", "halved"]
        assert session.device == "cuda:0"


def test_first_run_of_a_fixed_shape_is_queued_and_later_ones_are_launched(
    toy: Path, trt: toys.TensorRt, cuda: toys.CudaRuntime
) -> None:
    with BACKEND.open(toy) as session:
        session.run(feeds(2))
        assert trt.calls.count("execute_async_v3") == 2  # once for the result, once recorded
        trt.calls.clear()
        cuda.calls.clear()
        check(session.run(feeds(2, seed=1)), feeds(2, seed=1))
    assert "execute_async_v3" not in trt.calls
    assert [c for c in cuda.calls if c.startswith(("cudaM", "cudaG", "cudaStreamS"))][:6] == [
        "cudaMemcpyAsync:1",
        "cudaMemcpyAsync:1",
        "cudaGraphLaunch",
        "cudaMemcpyAsync:2",
        "cudaMemcpyAsync:2",
        "cudaStreamSynchronize",
    ]


@pytest.mark.parametrize(("batch", "wish"), [(2, False), (3, True)])
def test_without_graphs_and_over_a_range_every_run_is_queued(
    toy: Path, trt: toys.TensorRt, cuda: toys.CudaRuntime, batch: int, wish: bool
) -> None:
    with BACKEND.open(toy, options={"cuda_graph": wish}) as session:
        session.run(feeds(batch))
        session.run(feeds(batch))
    assert trt.calls.count("execute_async_v3") == 2
    assert "cudaStreamBeginCapture" not in cuda.calls


def test_the_closest_profile_is_taken_and_each_has_one_context(
    toy: Path, trt: toys.TensorRt
) -> None:
    with BACKEND.open(toy) as session:
        trt.calls.clear()
        for batch in (2, 2, 3, 5, 2):
            session.run(feeds(batch))
    assert [call for call in trt.calls if call.startswith("profile")] == ["profile 1", "profile 0"]


def test_a_shape_outside_every_profile_names_the_profiles(toy: Path) -> None:
    with (
        BACKEND.open(toy) as session,
        pytest.raises(TensorMismatchError, match=r"points \(17, 3\).*\(1, 3\) to \(16, 3\)"),
    ):
        session.run(feeds(17))


def test_everything_is_released_in_close(toy: Path, cuda: toys.CudaRuntime) -> None:
    session = BACKEND.open(toy)
    session.run(feeds(2))
    assert cuda.live() == {"streams": 1, "executables": 1, "device": 4, "pinned": 4}
    session.close()
    session.close()
    assert cuda.live() == {}
    with pytest.raises(InferenceError, match="closed"):
        session.run(feeds())


def test_a_forgotten_session_frees_its_memory(toy: Path, cuda: toys.CudaRuntime) -> None:
    session = BACKEND.open(toy)
    session.run(feeds(2))
    del session
    gc.collect()
    assert cuda.live() == {}


def test_results_are_copies(toy: Path) -> None:
    with BACKEND.open(toy) as session:
        first = session.run(feeds(seed=1))["doubled"]
        kept = first.copy()
        session.run(feeds(seed=2))
    assert np.array_equal(first, kept)


def test_the_embedding_stays_on_the_gpu(
    tmp_path: Path, trt: toys.TensorRt, cuda: toys.CudaRuntime, jobs: list[BuildJob]
) -> None:
    image = feeds()["image"]
    points = np.ones((1, 3), np.float32)
    with (
        BACKEND.open(write(tmp_path, toys.ENCODER), keep=["image_embeddings"]) as encoder,
        BACKEND.open(write(tmp_path, toys.DECODER)) as decoder,
    ):
        embedding = encoder.run({"image": image})["image_embeddings"]
        other = encoder.run({"image": image // 2})["image_embeddings"]
        plain, another = np.array(embedding), np.array(other)
        for given in (embedding, embedding, other, embedding, plain, another, embedding):
            cuda.calls.clear()
            result = decoder.run({"image_embeddings": given, "points": points})["low_res_masks"]
            assert result[0, 0] == pytest.approx(3 + float(np.asarray(given).sum()))
            uploads = cuda.calls.count("cudaMemcpyAsync:1")
            assert uploads == (1 if type(given) is not np.ndarray else 2)
        with pytest.raises(ValueError, match="read-only"):
            embedding[0] = 0
        changed = embedding[:, ::-1] + 1
        answer = decoder.run({"image_embeddings": changed, "points": points})["low_res_masks"]
        assert answer[0, 0] == pytest.approx(3 + float(changed.sum()))
    del embedding, other, given, changed
    gc.collect()
    assert cuda.live() == {}


def test_an_embedding_outlives_its_session(
    tmp_path: Path, trt: toys.TensorRt, cuda: toys.CudaRuntime, jobs: list[BuildJob]
) -> None:
    with BACKEND.open(write(tmp_path, toys.ENCODER), keep=["image_embeddings"]) as encoder:
        embedding = encoder.run({"image": feeds()["image"]})["image_embeddings"]
    points = np.zeros((1, 3), np.float32)
    with BACKEND.open(write(tmp_path, toys.DECODER)) as decoder:
        result = decoder.run({"image_embeddings": embedding, "points": points})
    assert result["low_res_masks"][0, 0] == pytest.approx(float(embedding.sum()))


PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
PROMPTS = [Prompt(box=[8, 8, 40, 30]), Prompt(points=[[20, 20], [30, 10]], labels=[1, 0])]


@pytest.fixture
def expected(toy_bundle: Path) -> list[Masks]:
    """What ONNX Runtime makes of the toy bundle; needed before the stand-ins hide it."""
    with Predictor.from_bundle(toy_bundle, backend="onnxruntime") as predictor:
        return predictor.decode_batch(predictor.encode(PICTURE), PROMPTS)


def test_a_whole_bundle_and_its_embedding_on_the_gpu(
    expected: list[Masks],
    toy_bundle: Path,
    tmp_path: Path,
    trt: toys.TensorRt,
    cuda: toys.CudaRuntime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(job: BuildJob, *, progress: Any, stage: Any) -> BuildReport:
        assert job.engine is not None
        Path(job.engine).write_text(json.dumps(toys.engine_of(job.onnx, job.profiles)))
        return BuildReport(version="10.3.0", bytes=1)

    monkeypatch.setattr(engines, "build", build)
    folder = shutil.copytree(toy_bundle, tmp_path / "bundle")
    with Predictor.from_bundle(folder, backend="tensorrt") as predictor:
        embedding = predictor.encode(PICTURE)
        cuda.calls.clear()
        found = predictor.decode_batch(embedding, PROMPTS)
        decodes = cuda.calls.count("cudaStreamSynchronize")
        assert cuda.calls.count("cudaMemcpyAsync:3") == 1  # the embedding, once for all prompts
        assert cuda.calls.count("cudaMemcpyAsync:1") == 4 * decodes
        assert predictor.active_backend().name == "tensorrt"
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours.masks, theirs.masks)
    del embedding
    gc.collect()
    assert cuda.live() == {}


@pytest.mark.parametrize(
    ("function", "code", "message"),
    [
        ("cudaMemcpyAsync", toys.LAUNCH_FAILURE, "copying: unspecified launch failure"),
        ("cudaStreamSynchronize", toys.LAUNCH_FAILURE, "waiting for the GPU"),
        ("cudaSetDevice", 101, "choosing the GPU: error 101"),
    ],
)
def test_an_error_of_the_gpu_is_named_and_the_session_goes_on(
    toy: Path, cuda: toys.CudaRuntime, function: str, code: int, message: str
) -> None:
    with BACKEND.open(toy) as session:
        session.run(feeds())
        cuda.failures[function] = code
        with pytest.raises(InferenceError, match=message):
            session.run(feeds(seed=1))
        check(session.run(feeds(seed=2)), feeds(seed=2))


def test_memory_that_is_full_says_so_and_leaks_nothing(toy: Path, cuda: toys.CudaRuntime) -> None:
    cuda.failures["cudaMalloc"] = toys.OUT_OF_MEMORY
    with pytest.raises(InferenceError, match=r"allocating .* MB on the GPU: out of memory.*Close"):
        BACKEND.open(toy)
    gc.collect()
    assert cuda.live() == {}


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ("context", "no memory for an execution context: no memory for activations"),
        ("address points", "refuses the memory of 'points'"),
    ],
)
def test_what_the_engine_refuses_is_an_error(
    toy: Path, trt: toys.TensorRt, cuda: toys.CudaRuntime, refusal: str, message: str
) -> None:
    trt.refuse = refusal
    with pytest.raises(InferenceError, match=message), BACKEND.open(toy) as session:
        session.run(feeds())
    gc.collect()
    assert cuda.live() == {}


def test_a_failed_launch_carries_what_the_library_said(toy: Path, trt: toys.TensorRt) -> None:
    with BACKEND.open(toy) as session:
        trt.refuse = "execute"
        with pytest.raises(InferenceError, match="could not queue the network: kernel launch fail"):
            session.run(feeds())


def test_a_network_that_cannot_be_recorded_still_runs(
    toy: Path, trt: toys.TensorRt, cuda: toys.CudaRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    trt.refuse = "capture"
    with BACKEND.open(toy) as session:
        for seed in range(3):
            check(session.run(feeds(2, seed)), feeds(2, seed))
        assert "graphs" not in cuda.live()
    assert caplog.text.count("not recorded as a CUDA graph") == 1


def test_an_engine_that_does_not_load_says_what_to_delete(
    tmp_path: Path, trt: toys.TensorRt, jobs: list[BuildJob]
) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no engine")
    with pytest.raises(InferenceError, match=r"magic tag does not match.*Delete the \.engine") as e:
        BACKEND.open(path)
    assert e.value.__cause__ is not None


# ---- engines


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


def test_another_gpu_needs_another_engine_only_where_kernels_are_timed(
    toy: Path, trt: toys.TensorRt, cuda: toys.CudaRuntime, jobs: list[BuildJob], monkeypatch: Any
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
    cuda: toys.CudaRuntime,
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


# ---- what is not here


def test_no_gpu_is_told_by_a_build(
    trt: toys.TensorRt, cuda: toys.CudaRuntime, toy_bundle: Path
) -> None:
    bundle = Bundle.open(toy_bundle)
    cuda.gpus = 0
    with pytest.raises(BackendUnavailableError, match=r"finds no NVIDIA GPU.* Fix: sudo apt"):
        build_bundle(bundle, flavour=trt.__name__.replace("_", "-"))
    cuda.gpus = 1
    with pytest.raises(BackendUnavailableError, match="no GPU 3 here, only 1"):
        build_bundle(bundle, flavour=trt.__name__.replace("_", "-"), device=3)


def test_no_gpu_is_found_by_the_probe(trt: toys.TensorRt, cuda: toys.CudaRuntime) -> None:
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


def test_every_gpu_is_a_device(trt: toys.TensorRt, cuda: toys.CudaRuntime) -> None:
    cuda.gpus = 2
    assert BACKEND.probe().devices == ("cuda:0", "cuda:1")


def test_absent_gpu(toy: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="no device 'cuda:1' here, only cuda:0"):
        BACKEND.open(toy, device="cuda:1")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"flavour": "tensorflow"}, UnknownNameError, "'tensorrt'"),
        ({"buckets": []}, UnknownNameError, "Known: build"),
        ({"workspace_mb": -1}, OptionError, "workspace_mb is -1"),
    ],
)
def test_nonsense_options(
    toy: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        BACKEND.open(toy, options=options)


def test_the_stand_in_has_the_real_runtimes_functions() -> None:
    """What the stand-in offers, the real module does."""
    real = pytest.importorskip("cuda.bindings.runtime")
    ours = [name for name in dir(toys.CudaRuntime) if name.startswith("cuda")]
    assert len(ours) > 15
    assert [name for name in ours if not hasattr(real, name)] == []
