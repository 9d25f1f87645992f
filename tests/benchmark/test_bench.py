"""The benchmark with segmenters whose times are known."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from samedge.benchmark import bench as bench_module
from samedge.benchmark import latency
from samedge.benchmark import worker as bench_worker
from samedge.benchmark.bench import EFFORTS, Effort, Plan, bench, effort, find_images
from samedge.benchmark.process import ChosenSubject
from samedge.errors import BundleError, DatasetError, InferenceError, UnknownNameError
from samedge.records import BenchRecord, read, write
from tests.benchmark.efforts import TINY

FAKE = """
import contextlib, os, sys, time, types
from samedge.errors import BundleError
from samedge.records import OpenedSubject, Subject

print("native chatter on standard output")


class Predictor:
    def __init__(self, ms):
        self.ms = ms

    def encode(self, image):
        time.sleep(self.ms / 1000)
        return types.SimpleNamespace(timing_ms={"preprocess": 0.1, "encode": self.ms})

    def decode(self, embedding, prompt):
        return types.SimpleNamespace(timing_ms={"decode": 1.0, "postprocess": 0.5})

    def decode_batch(self, embedding, prompts):
        time.sleep(0.0005 * len(prompts))


@contextlib.contextmanager
def _opened(ms):
    yield Predictor(ms)


def make(bundle, *, backend, device, threads):
    if backend == "absent":
        raise BundleError("There is no such bundle.")
    if backend == "dying":
        print("about to die", file=sys.stderr, flush=True)
        os.abort()
    slow = backend == "slow"
    named = Subject(bundle=bundle, backend=backend, device="cpu", input_size=512 if slow else 1024)
    residency = {"encoder": {"ne": 0.75, "cpu": 0.25}} if slow else {}
    subject = OpenedSubject(subject=named, artifact_bytes=123, residency=residency)
    return _opened(4.0 if slow else 2.0), subject
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that the worker imports instead of samedge's predictor."""
    (tmp_path / "fake_segmenter.py").write_text(textwrap.dedent(FAKE))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "fake_segmenter:make"


def _subjects(factory: str, *backends: str, bundle: Path) -> list[ChosenSubject]:
    return [ChosenSubject(str(bundle), backend, None, factory) for backend in backends]


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> BenchRecord:
    """One real run with two subjects, one twice as slow."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "fake_segmenter.py").write_text(textwrap.dedent(FAKE))
    (folder / "weights.bin").write_bytes(b"0" * 1000)
    plan = Plan(
        find_images()[:2],
        TINY,
        threads=1,
        prompts_per_frame=(1, 8),
        sustained_s=0.3,
        deadline_ms=3,
        deadline_count=TINY.count,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.setattr(bench_module, "BLOCK_SECONDS", 0.01)
        patch.setattr(bench_module, "RATE_SECONDS", 0.05)
        subjects = _subjects("fake_segmenter:make", "fast", "slow", bundle=folder)
        return bench(subjects, plan)


class TestBench:
    def test_every_stage_of_every_subject(self, record: BenchRecord) -> None:
        stages = [(row.backend, row.stage) for row in record.results]
        assert stages == [(b, s) for b in ("fast", "slow") for s in latency.STAGES]
        by_stage = {(row.backend, row.stage): row for row in record.results}
        assert by_stage["fast", "encode"].p50_ms == 2.0
        assert by_stage["slow", "encode"].p50_ms == 4.0
        end_to_end = by_stage["fast", "end_to_end"]
        assert end_to_end.p50_ms is not None
        assert end_to_end.p50_ms >= 2.0
        assert end_to_end.n >= TINY.count
        assert end_to_end.artifact_bytes == 123
        assert by_stage["fast", "load"].n == TINY.launches

    def test_too_few_samples_have_no_percentiles(self, record: BenchRecord) -> None:
        for row in record.results:
            assert (row.p90_ms is None) == (row.n < 64)
            assert row.p99_ms is None

    def test_cold_start_stands_apart(self, record: BenchRecord) -> None:
        for row in record.results:
            assert (row.cold_ms is not None) == (row.stage in ("load", "first"))

    def test_memory_is_the_workers_own(self, record: BenchRecord) -> None:
        for row in record.results:
            assert row.peak_rss_bytes is not None
            assert 10e6 < row.peak_rss_bytes < 300e6

    def test_faster_needs_an_interval_and_names_what_else_differs(
        self, record: BenchRecord
    ) -> None:
        encode = next(c for c in record.comparisons if c.stage == "encode")
        blocks = next(len(r.block_p50_ms) for r in record.results if r.stage == "encode")
        assert encode.pairs == blocks == 8  # two launches, 30 samples each, 8 a block
        assert encode.differences == ["input size (1024 against 512)"]
        assert encode.speedup == pytest.approx(2.0)
        assert encode.faster == [record.results[0].bundle, "fast", "cpu"]
        load = next(c for c in record.comparisons if c.stage == "load")
        assert (load.speedup, load.faster) == (None, None)  # two starts say nothing

    def test_prompt_rate_falls_with_the_prompts(self, record: BenchRecord) -> None:
        rates = {(r.backend, r.prompts_per_frame): r.frames_per_s for r in record.prompt_rate}
        assert rates["fast", 1] > rates["fast", 8]
        assert set(rates) == {(b, n) for b in ("fast", "slow") for n in (1, 8)}

    def test_where_the_library_runs_what(self, record: BenchRecord) -> None:
        (row,) = record.residency
        assert (row.backend, row.role, row.shares) == ("slow", "encoder", {"ne": 0.75, "cpu": 0.25})

    def test_sustained_run(self, record: BenchRecord) -> None:
        assert [row.backend for row in record.sustained] == ["fast", "slow"]
        assert record.sustained[1].first_p50_ms >= 4.0
        assert record.sustained[0].series

    def test_deadline(self, record: BenchRecord) -> None:
        verdicts = {v.backend: v for v in record.deadline}
        assert verdicts["slow"].met is False  # every frame is late; that needs no p99
        assert "99% confidence" in verdicts["slow"].why

    def test_a_deadline_is_measured_until_it_is_certain(
        self, fake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """662 samples for whom it may be met, far fewer for whom it is plainly missed."""
        monkeypatch.setattr(bench_module, "BLOCK_SECONDS", 0.2)
        plan = Plan(find_images()[:1], Effort(0.01, 10, 1), deadline_ms=1000)
        (met,) = bench(_subjects(fake, "fast", bundle=tmp_path), plan).deadline
        assert (met.met, met.n >= 662) == (True, True)
        assert "meets the deadline" in met.why
        plan = Plan(find_images()[:1], Effort(0.01, 10, 1), deadline_ms=1)
        (missed,) = bench(_subjects(fake, "slow", bundle=tmp_path), plan).deadline
        assert (missed.met, missed.p99_ms) == (False, None)
        assert missed.n < 200

    def test_record_survives_a_round_trip(self, record: BenchRecord, tmp_path: Path) -> None:
        write(record, tmp_path / "bench.json")
        again = read(tmp_path / "bench.json")
        assert isinstance(again, BenchRecord)
        assert again.results == record.results
        assert again.comparisons == record.comparisons
        document = json.loads((tmp_path / "bench.json").read_text())
        promised = {"cpu", "isa", "cores", "memory_bytes", "os", "python", "packages", "power"}
        assert promised | {"threads"} <= set(document["environment"])
        assert document["environment"]["threads"] == 1

    def test_an_error_of_samedge_crosses_the_process(self, fake: str, tmp_path: Path) -> None:
        subjects = _subjects(fake, "absent", bundle=tmp_path)
        with pytest.raises(BundleError, match=r"^There is no such bundle\.$"):
            bench(subjects, Plan(find_images(), TINY))

    def test_a_process_that_dies_is_reported(self, fake: str, tmp_path: Path) -> None:
        subjects = _subjects(fake, "dying", bundle=tmp_path)
        with pytest.raises(InferenceError, match=r"on dying ended .* SIGABRT.*about to die"):
            bench(subjects, Plan(find_images(), TINY))

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is new in Python 3.11")
    def test_a_file_in_the_current_folder_is_no_module(
        self, fake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(BundleError, match="no such bundle"):
            bench(_subjects(fake, "absent", bundle=tmp_path), Plan(find_images(), TINY))

    def test_efforts(self) -> None:
        assert effort("strict") == Effort(60.0, 662, 5)
        assert (EFFORTS["quick"].seconds, EFFORTS["quick"].count) == (3.0, 64)
        with pytest.raises(UnknownNameError, match="Did you mean 'strict'"):
            effort("strikt")

    def test_a_folder_without_pictures(self, tmp_path: Path) -> None:
        (tmp_path / "._a.jpg").write_bytes(b"what macOS leaves on other disks")
        with pytest.raises(DatasetError, match="holds no picture"):
            find_images(tmp_path)
        (tmp_path / "a.JFIF").touch()
        assert find_images(tmp_path) == (tmp_path / "a.JFIF",)


def test_peak_memory_is_not_inherited() -> None:
    """A small process started by a large one reports its own size."""
    ballast = np.ones(40_000_000)  # 320 MB, touched
    code = "from samedge.benchmark.worker import peak_rss_bytes; print(peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    peak = bench_worker.peak_rss_bytes()
    assert peak is not None
    assert peak > ballast.nbytes
    assert int(done.stdout) < 200e6


def test_pictures_are_those_of_every_command(tmp_path: Path) -> None:
    for name in ("f10.png", "f2.avif", "._f2.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path)] == ["f10.png", "f2.avif"]
    for empty in (tmp_path / "f2.avif", tmp_path / "nowhere"):
        with pytest.raises(DatasetError, match="holds no picture"):
            find_images(empty)
