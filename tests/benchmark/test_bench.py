from __future__ import annotations

import functools
import json
import math
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samedge.benchmark import bench as bench_module
from samedge.benchmark import latency
from samedge.benchmark import worker as bench_worker
from samedge.benchmark.bench import EFFORTS, Effort, Plan, bench, effort, find_images
from samedge.benchmark.latency import Samples, compare, stage_row, verdict
from samedge.benchmark.process import ChosenSubject
from samedge.errors import BundleError, DatasetError, ImageError, InferenceError, UnknownNameError
from samedge.machine import disturbance, environment, power, system
from samedge.machine.disturbance import Watch, processor_times
from samedge.records import BenchRecord, Power, StageRow, Subject, read, write

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

TINY = Effort(0.05, 60, 2)


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


class TestLatency:
    def _row(self, backend: str, blocks: list[float], **fields: object) -> StageRow:
        samples = Samples()
        for value in blocks:
            samples.add([value] * 3)
        subject = Subject(bundle="b", backend=backend, **fields)  # type: ignore[arg-type]
        return stage_row(
            subject, "encode", samples=samples, peak_rss_bytes=None, artifact_bytes=None
        )

    def test_row_counts_everything(self) -> None:
        samples = Samples()
        samples.add([10.0] * 60 + [11.0] * 60)
        samples.add([500.0])
        row = stage_row(
            Subject(bundle="b", backend="x"),
            "decode",
            samples=samples,
            peak_rss_bytes=7,
            artifact_bytes=8,
        )
        assert (row.n, row.outliers, row.max_ms, row.min_ms) == (121, 1, 500.0, 10.0)
        assert row.mean_ms == pytest.approx((600 + 660 + 500) / 121, abs=1e-4)
        assert row.p90_ms == 11.0
        assert row.p95_ms is None
        assert sum(count for _, _, count in row.histogram_ms) == 121
        assert row.block_p50_ms == [10.5, 500.0]

    def test_a_picture_that_cannot_be_read_ends_it_before_the_work(self, tmp_path: Path) -> None:
        """Blocks rotate over the pictures: it would come up after minutes, or at the very end."""
        (tmp_path / "a.png").write_bytes(b"no picture")
        plan = Plan((*find_images()[:1], tmp_path / "a.png"), TINY)
        with pytest.raises(ImageError, match=r"a\.png is not an image"):
            bench([ChosenSubject(bundle=str(tmp_path / "absent"))], plan)

    def test_variation_is_around_each_images_own_mean(self) -> None:
        samples = Samples()
        samples.add([10.0, 10.0, 10.0], image=0)
        samples.add([90.0, 90.0, 90.0], image=1)
        assert samples.variation() == 0.0
        samples.add([9.0, 11.0], image=2)
        # Relative deviations of -0.1 and 0.1; eight samples on three images.
        assert samples.variation() == pytest.approx(math.sqrt(0.02 / 5))

    def test_one_sample_has_no_variation(self) -> None:
        samples = Samples()
        samples.add([1.0])
        assert samples.variation() is None

    def test_faster_only_when_the_interval_excludes_one(self) -> None:
        rng = np.random.default_rng(0)
        noise = rng.lognormal(0, 0.2, 12)
        base = self._row("a", (10 * noise).tolist())
        double = self._row("b", (20 * noise).tolist())
        same = self._row("c", (10 * rng.lognormal(0, 0.2, 12)).tolist())
        by_pair = {(c.first[1], c.second[1]): c for c in compare([base, double, same])}
        clear = by_pair["a", "b"]
        assert clear.speedup == pytest.approx(2.0, rel=1e-3)
        assert clear.faster == ["b", "a", ""]
        assert by_pair["b", "c"].faster == ["b", "c", ""]
        open_ = by_pair["a", "c"]
        assert open_.faster is None
        assert open_.ci95 is not None
        assert open_.ci95[0] < 1 < open_.ci95[1]

    def test_differences_are_named(self) -> None:
        first = self._row("a", [1.0] * 5, input_size=512, precision="int8", artifact_sha256="1")
        second = self._row("b", [2.0] * 5, input_size=1024, precision="fp32", artifact_sha256="2")
        found = next(compare([first, second])).differences
        expected = ["input size (512 against 1024)", "precision (int8 against fp32)", "artifacts"]
        assert found == expected

    @pytest.mark.parametrize(
        ("values", "met", "why"),
        [
            ([20.0] * 662, True, "p99 of 20.00 ms meets"),
            ([20.0] * 640 + [50.0] * 22, False, "p99 of 50.00 ms misses"),
            ([20.0] * 100, None, "needs 662 samples"),
            ([20.0] * 90 + [50.0] * 10, False, "10 of 100 frames"),
            ([20.0] * 99 + [50.0], None, "1 of 100 frames"),
            ([], None, "needs 662 samples"),
        ],
    )
    def test_deadline(self, values: list[float], met: bool | None, why: str) -> None:
        found = verdict(Subject(bundle="b", backend="x"), values, deadline_ms=33)
        assert found.met is met
        assert why in found.why
        assert (found.late is None) == (not values)  # not measured is null, never 0


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


Tools = Callable[[str, str], None]
"""Puts a shell script on the path in the place of a tool of another system."""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def add(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return add


class TestEnvironment:
    def test_this_machine(self) -> None:
        found = environment.environment(threads=3)
        assert found.threads == 3
        assert found.cores
        assert found.python == ".".join(map(str, sys.version_info[:3]))
        assert found.packages["numpy"] == np.__version__

    def test_what_cannot_be_read_is_null(self, tmp_path: Path) -> None:
        found = environment.environment(root=tmp_path)
        assert (found.board, found.cuda, found.jetpack) == (None, None, None)
        assert found.power.governor is None
        if sys.platform == "linux":
            assert found.memory_bytes is None
            assert found.isa is None
            assert found.power == Power()

    @pytest.mark.skipif(sys.platform == "darwin", reason="reads Linux's files")
    def test_a_jetson(self, tmp_path: Path) -> None:
        cpu = "sys/devices/system/cpu"
        hwmon = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
        _write(
            tmp_path,
            {
                "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp crc32\n"
                "CPU part\t: 0xd42\n",
                "proc/meminfo": "MemTotal:       15000000 kB\nMemFree: 1 kB\n",
                "proc/device-tree/model": "NVIDIA Jetson Orin NX\0",
                "etc/os-release": 'NAME=x\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
                "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1\n",
                "usr/local/cuda/version.json": '{"cuda": {"name": "x", "version": "12.6.68"}}',
                f"{cpu}/cpu0/cpufreq/scaling_governor": "schedutil\n",
                f"{cpu}/cpu1/cpufreq/scaling_governor": "schedutil\n",
                f"{cpu}/cpu0/cpufreq/cpuinfo_max_freq": "1984000\n",
                f"{cpu}/cpu0/topology/core_id": "0\n",
                f"{cpu}/cpu0/topology/physical_package_id": "0\n",
                f"{hwmon}/in1_label": "VDD_IN\n",
                f"{hwmon}/in1_input": "5000\n",
                f"{hwmon}/curr1_input": "1200\n",
                "sys/class/thermal/thermal_zone0/temp": "48500\n",
                "sys/class/thermal/thermal_zone1/temp": "51250\n",
            },
        )
        found = environment.environment(root=tmp_path)
        assert found.cpu == "Cortex-A78AE"
        assert found.isa == ["asimd", "asimdhp", "asimddp"]
        assert found.memory_bytes == 15_360_000_000
        assert found.board == "NVIDIA Jetson Orin NX"
        assert found.os is not None
        assert found.os.startswith("Ubuntu 22.04.5 LTS")
        assert (found.jetpack, found.cuda, found.cores_physical) == ("L4T 36.4.3", "12.6.68", 1)
        assert found.power.governor == "schedutil"
        assert found.power.frequency_max_mhz == 1984
        assert found.power.rails_mw == {"VDD_IN": 6000}
        assert found.power.temperature_c == 51.25

    def test_jetpack_itself_is_preferred(self, tmp_path: Path) -> None:
        status = "Package: a\nVersion: 1\n\nPackage: nvidia-jetpack\nStatus: ok\nVersion: 6.2-b77\n"
        _write(tmp_path, {"var/lib/dpkg/status": status, "etc/nv_tegra_release": ""})
        assert environment.environment(root=tmp_path).jetpack == "6.2-b77"

    def test_a_laptop(self, tmp_path: Path) -> None:
        cpu = "sys/devices/system/cpu"
        _write(
            tmp_path,
            {
                f"{cpu}/intel_pstate/no_turbo": "1\n",
                "sys/class/power_supply/AC/online": "0\n",
                "sys/fs/cgroup/cpu.max": "150000 100000\n",
                f"{cpu}/cpu0/thermal_throttle/core_throttle_count": "3\n",
                f"{cpu}/cpu1/thermal_throttle/core_throttle_count": "4\n",
            },
        )
        found = power.power(root=tmp_path)
        assert found.boost is False
        assert found.cpu_quota == 1.5
        assert power.throttle_count(root=tmp_path) == 7
        if sys.platform == "linux":
            assert found.on_battery is True

    def test_a_jetson_without_monitors_asks_tegrastats(
        self, tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _write(tmp_path, {"etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 1\n"})
        line = "RAM 2448/7620MB (lfb 3x4MB) CPU [1%@729] VDD_IN 4971mW/4890mW VDD_SOC 1418mW/1400mW"
        tools("tegrastats", f"echo '{line}'; exec sleep 60")
        tools("nvpmodel", "echo 'NV Power Mode: MAXN_SUPER'; echo 2")
        monkeypatch.setattr(
            power, "first_line", functools.partial(system.first_line, timeout_s=600)
        )
        found = power.power(root=tmp_path)
        assert found.rails_mw == {"VDD_IN": 4971, "VDD_SOC": 1418}
        assert found.nvpmodel == "MAXN_SUPER"

    def test_a_mac(self, tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
        """What Apple's tools print, on a machine that has none of Linux's files."""
        tools(
            "sysctl",
            """case "$*" in
            "-n machdep.cpu.brand_string") echo "Apple M2 Pro";;
            "-n hw.memsize") echo 17179869184;;
            "-n hw.physicalcpu") echo 10;;
            hw.optional) echo "hw.optional.arm.FEAT_BF16: 1"; echo "hw.optional.arm.FEAT_SME: 0"
                echo "hw.optional.floatingpoint: 1";;
            esac""",
        )
        tools(
            "pmset",
            """case "$*" in
            "-g batt") echo "Now drawing from 'Battery Power'";;
            "-g therm") echo " CPU_Speed_Limit         = 62";;
            esac""",
        )
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(platform, "mac_ver", lambda: ("15.5", ("", "", ""), "arm64"))
        found = environment.environment(root=tmp_path)
        assert (found.cpu, found.isa) == ("Apple M2 Pro", ["FEAT_BF16"])
        assert (found.memory_bytes, found.cores_physical) == (2**34, 10)
        assert (found.os, found.container) == ("macOS 15.5", None)
        assert found.power.on_battery is True
        assert power.throttled_now(root=tmp_path) == ["processor, at 62% of its speed"]

    def test_an_nvidia_gpu(self, tools: Tools, tmp_path: Path) -> None:
        tools(
            "nvidia-smi",
            """case "$*" in
            "") echo "| NVIDIA-SMI 570.1   Driver Version: 570.1   CUDA Version: 12.8  |";;
            *throttle*) echo "0, Not Active, Active, Not Active, Active"
                echo "1, Not Active, Not Active, Not Active, Not Active";;
            *) echo "NVIDIA H200, 570.1, 143771, 9.0, 700.00";;
            esac""",
        )
        found = environment.environment(root=tmp_path)
        assert found.cuda_driver == "12.8"
        assert found.gpus is not None
        assert (found.gpus[0].name, found.gpus[0].driver) == ("NVIDIA H200", "570.1")
        assert power.gpu_slowdowns() == ["GPU 0 for heat and its power limit"]

    @pytest.mark.skipif(sys.platform == "darwin", reason="reads Linux's files")
    def test_what_the_thermal_governor_holds_back(self, tmp_path: Path) -> None:
        folder = "sys/class/thermal"
        devices = [("cpufreq-cpu0", 3), ("devfreq-17000000.gpu", 0), ("pwm-fan", 2)]
        for index, (kind, state) in enumerate(devices):
            files = {"type": f"{kind}\n", "cur_state": f"{state}\n"}
            _write(tmp_path, {f"{folder}/cooling_device{index}/{k}": v for k, v in files.items()})
        assert power.throttled_now(root=tmp_path) == ["cpufreq-cpu0"]

    @pytest.mark.parametrize(
        ("line", "memory", "capability"),
        [
            ("NVIDIA H200, 570.1, 143771, 9.0, 700.00", 143771 * 2**20, "9.0"),
            ("Orin (nvgpu), 540.4.0, [N/A], 8.7, [N/A]", None, "8.7"),
        ],
    )
    def test_a_line_of_nvidia_smi(self, line: str, memory: int | None, capability: str) -> None:
        found = environment._gpu(line)
        assert (found.memory_bytes, found.compute_capability) == (memory, capability)


class TestDisturbance:
    def _stat(self, root: Path, user: int, idle: int, steal: int = 0) -> None:
        _write(root, {"proc/stat": f"cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1\n"})

    def test_processor_times(self, tmp_path: Path) -> None:
        self._stat(tmp_path, 300, 600, 100)
        times = processor_times(root=tmp_path)
        assert times is not None
        assert (times.busy, times.stolen, times.total) == (3.0, 1.0, 10.0)
        assert processor_times(root=tmp_path / "none") is None

    def test_psutil_tells_where_there_is_no_proc(self) -> None:
        pytest.importorskip("psutil")
        times = disturbance._times_from_psutil()
        assert times is not None
        assert 0 < times.busy < times.total

    def test_a_busy_machine_is_reported(self, tmp_path: Path) -> None:
        self._stat(tmp_path, 1000, 1000)
        watch = Watch(root=tmp_path)
        self._stat(tmp_path, 51_000, 51_000, 4000)
        found = watch.warnings([])
        assert any(message.startswith("Other processes used 4") for message in found)
        assert any("hypervisor gave 4%" in message for message in found)

    def test_heat_frequency_and_battery(self, tmp_path: Path) -> None:
        self._stat(tmp_path, 1000, 1000)
        counter = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
        _write(tmp_path, {counter: "3", "sys/class/power_supply/AC/online": "0"})
        watch = Watch(root=tmp_path)
        _write(tmp_path, {counter: "5"})
        throttled = {"GPU 0 for heat", "cpufreq-cpu0"}
        found = "\n".join(watch.warnings([3000.0] * 6 + [2000.0] * 6, throttled=throttled))
        assert "Held below full speed during the run: GPU 0 for heat, cpufreq-cpu0." in found
        assert "slowed down for heat 2 times" in found
        assert "fell from 3000 to 2000 MHz" in found
        if sys.platform == "linux":
            assert "runs on battery" in found

    def test_a_quiet_machine_says_nothing(self, tmp_path: Path) -> None:
        self._stat(tmp_path, 1000, 1000)
        watch = Watch(root=tmp_path)
        self._stat(tmp_path, 1000, 91_000)
        assert watch.warnings([3000.0] * 12) == []


def test_pictures_are_those_of_every_command(tmp_path: Path) -> None:
    for name in ("f10.png", "f2.avif", "._f2.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path)] == ["f10.png", "f2.avif"]
    for empty in (tmp_path / "f2.avif", tmp_path / "nowhere"):
        with pytest.raises(DatasetError, match="holds no picture"):
            find_images(empty)
