"""The TensorRT backend against stand-ins of its two native modules: calls, lifetimes, errors."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import (
    BackendUnavailableError,
    InferenceError,
    OptionError,
    TensorMismatchError,
    UnknownNameError,
)
from samedge.formats.results import Masks
from samedge.predict.predictor import Predictor
from samedge.runtimes.tensorrt import engines
from samedge.runtimes.tensorrt.builder import BuildJob, BuildReport
from tests.runtimes.tensorrt.jobs import BACKEND, PICTURE, PROMPTS, check, feeds, write
from tests.toys import tensorrt as toys
from tests.toys.cuda import LAUNCH_FAILURE, OUT_OF_MEMORY, CudaRuntime


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
    toy: Path, trt: toys.TensorRt, cuda: CudaRuntime
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
    toy: Path, trt: toys.TensorRt, cuda: CudaRuntime, batch: int, wish: bool
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


def test_everything_is_released_in_close(toy: Path, cuda: CudaRuntime) -> None:
    session = BACKEND.open(toy)
    session.run(feeds(2))
    assert cuda.live() == {"streams": 1, "executables": 1, "device": 4, "pinned": 4}
    session.close()
    session.close()
    assert cuda.live() == {}
    with pytest.raises(InferenceError, match="closed"):
        session.run(feeds())


def test_a_forgotten_session_frees_its_memory(toy: Path, cuda: CudaRuntime) -> None:
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
    tmp_path: Path, trt: toys.TensorRt, cuda: CudaRuntime, jobs: list[BuildJob]
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
    tmp_path: Path, trt: toys.TensorRt, cuda: CudaRuntime, jobs: list[BuildJob]
) -> None:
    with BACKEND.open(write(tmp_path, toys.ENCODER), keep=["image_embeddings"]) as encoder:
        embedding = encoder.run({"image": feeds()["image"]})["image_embeddings"]
    points = np.zeros((1, 3), np.float32)
    with BACKEND.open(write(tmp_path, toys.DECODER)) as decoder:
        result = decoder.run({"image_embeddings": embedding, "points": points})
    assert result["low_res_masks"][0, 0] == pytest.approx(float(embedding.sum()))


def test_a_whole_bundle_and_its_embedding_on_the_gpu(
    expected: list[Masks],
    toy_bundle: Path,
    tmp_path: Path,
    trt: toys.TensorRt,
    cuda: CudaRuntime,
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
        ("cudaMemcpyAsync", LAUNCH_FAILURE, "copying: unspecified launch failure"),
        ("cudaStreamSynchronize", LAUNCH_FAILURE, "waiting for the GPU"),
        ("cudaSetDevice", 101, "choosing the GPU: error 101"),
    ],
)
def test_an_error_of_the_gpu_is_named_and_the_session_goes_on(
    toy: Path, cuda: CudaRuntime, function: str, code: int, message: str
) -> None:
    with BACKEND.open(toy) as session:
        session.run(feeds())
        cuda.failures[function] = code
        with pytest.raises(InferenceError, match=message):
            session.run(feeds(seed=1))
        check(session.run(feeds(seed=2)), feeds(seed=2))


def test_memory_that_is_full_says_so_and_leaks_nothing(toy: Path, cuda: CudaRuntime) -> None:
    cuda.failures["cudaMalloc"] = OUT_OF_MEMORY
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
    toy: Path, trt: toys.TensorRt, cuda: CudaRuntime, refusal: str, message: str
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
    toy: Path, trt: toys.TensorRt, cuda: CudaRuntime, caplog: pytest.LogCaptureFixture
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
