"""The builder's process: what it asks of the library, and what becomes of its end."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from samedge.errors import InferenceError, OptionError
from samedge.runtimes.tensorrt import build as builds
from samedge.runtimes.tensorrt import builder, engines
from samedge.runtimes.tensorrt.builder import BuildJob, BuildReport, ParserFinding
from samedge.runtimes.tensorrt.flavours import FLAVOURS
from tests.toys import tensorrt as toys
from tests.toys.cuda import CudaRuntime

GRAPH = Path(__file__).parents[3] / "samedge" / "data" / "selftest" / "graph.onnx"


class Recorder:
    """A builder, network, parser and configuration in one, which notes what is asked of it."""

    def __init__(self, trt: Any, *, accepts: bool = True, plan: bytes | None = b"plan") -> None:
        self.accepts, self.plan, self.trt = accepts, plan, trt
        self.notes: dict[str, Any] = {"profiles": []}
        self.num_layers, self.num_inputs, self.num_errors = 5, 2, 1
        self.num_compute_capabilities, self.capabilities = 0, {}  # type: ignore[var-annotated]
        self.progress_monitor: Any = None

    def create_network(self, flags: int) -> Recorder:
        self.notes["flags"] = flags
        return self

    def parse_from_file(self, path: str) -> bool:
        self.notes["path"] = path
        return self.accepts

    def get_error(self, index: int) -> Any:
        return types.SimpleNamespace(
            node_name=lambda: "/neck/Foo", node_operator=lambda: "Foo", desc=lambda: "unknown"
        )

    def get_input(self, index: int) -> Any:
        fixed = types.SimpleNamespace(name="image", shape=(1, 8, 8, 3))
        names = {0: "batch", 1: "points"}
        dynamic = types.SimpleNamespace(
            name="coords", shape=(-1, -1, 2), get_dimension_name=lambda axis: names[axis]
        )
        return (fixed, dynamic)[index]

    def create_builder_config(self) -> Recorder:
        return self

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.notes["workspace"] = (pool, size)

    def clear_flag(self, flag: str) -> None:
        self.notes["cleared"] = flag

    def set_compute_capability(self, capability: str, index: int) -> None:
        self.capabilities[index] = capability

    def create_timing_cache(self, content: bytes) -> str:
        self.notes["timings"] = content
        return "cache"

    def set_timing_cache(self, cache: str, *, ignore_mismatch: bool) -> None:
        assert (cache, ignore_mismatch) == ("cache", False)

    def get_timing_cache(self) -> Any:
        return types.SimpleNamespace(serialize=lambda: b"new timings")

    def create_optimization_profile(self) -> Any:
        shapes: dict[str, Any] = {}
        self.notes["profiles"].append(shapes)
        return types.SimpleNamespace(
            set_shape=lambda name, low, usual, high: shapes.update({name: (low, usual, high)})
        )

    def add_optimization_profile(self, profile: Any) -> None:
        assert profile is not None

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        monitor = self.progress_monitor
        monitor.phase_start("Timing", None, 2)
        assert monitor.step_complete("Timing", 0)
        monitor.phase_finish("Timing")
        if self.plan is None:
            self.trt.say("no tactic fits")
        return self.plan


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> Any:
    standin: Any = toys.TensorRt("tensorrt", CudaRuntime())
    standin.NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=1)
    standin.MemoryPoolType = types.SimpleNamespace(WORKSPACE="workspace")
    standin.BuilderFlag = types.SimpleNamespace(TF32="tf32")
    standin.ComputeCapability = types.SimpleNamespace(SM86="sm86", SM120="sm120")
    standin.IProgressMonitor = type("IProgressMonitor", (), {})
    monkeypatch.setitem(sys.modules, "tensorrt", standin)
    return standin


def record(trt: Any, **behaviour: Any) -> Recorder:
    recorder = Recorder(trt, **behaviour)
    trt.Builder = lambda logger: recorder
    trt.OnnxParser = lambda network, logger: recorder
    return recorder


def job(tmp_path: Path, **fields: Any) -> BuildJob:
    return BuildJob(
        flavour="tensorrt", onnx="graph.onnx", engine=str(tmp_path / "engine"), **fields
    )


def test_the_network_is_strongly_typed_and_float32_is_not_rounded(trt: Any, tmp_path: Path) -> None:
    recorder = record(trt)
    report = builder.run(job(tmp_path, workspace_bytes=1000))
    assert report == BuildReport(version="10.3.0", layers=5, bytes=4)
    assert (tmp_path / "engine").read_bytes() == b"plan"
    assert recorder.notes["flags"] == 1 << 1
    assert recorder.notes["cleared"] == "tf32"
    assert recorder.notes["workspace"] == ("workspace", 1000)


def test_a_library_that_is_always_strongly_typed_needs_no_flag(trt: Any, tmp_path: Path) -> None:
    recorder = record(trt)
    trt.NetworkDefinitionCreationFlag = types.SimpleNamespace()
    builder.run(job(tmp_path))
    assert recorder.notes["flags"] == 0
    assert "workspace" not in recorder.notes


def test_tf32_can_be_allowed(trt: Any, tmp_path: Path) -> None:
    recorder = record(trt)
    builder.run(job(tmp_path, tf32=True))
    assert "cleared" not in recorder.notes


def test_profiles_have_the_shapes_of_the_dynamic_inputs(trt: Any, tmp_path: Path) -> None:
    recorder = record(trt)
    profiles: list[dict[str, tuple[int, ...]]] = [{"coords": (1, 4, 2)}, {"other": (1, 8)}]
    builder.run(job(tmp_path, profiles=profiles))
    assert recorder.notes["profiles"] == [
        {"coords": ((1, 4, 2), (1, 4, 2), (1, 4, 2))},
        {"coords": ((1, 1, 2), (4, 4, 2), (16, 16, 2))},
    ]


def test_without_profiles_one_covers_a_range(trt: Any, tmp_path: Path) -> None:
    recorder = record(trt)
    builder.run(job(tmp_path))
    assert recorder.notes["profiles"] == [{"coords": ((1, 1, 2), (4, 4, 2), (16, 16, 2))}]


def test_capabilities_are_set_by_name(trt: Any, tmp_path: Path) -> None:
    recorder = record(trt)
    builder.run(job(tmp_path, capabilities=["8.6", "12.0"]))
    assert recorder.num_compute_capabilities == 2
    assert recorder.capabilities == {0: "sm86", 1: "sm120"}


def test_timings_are_read_and_renewed(trt: Any, tmp_path: Path) -> None:
    recorder = record(trt)
    cache = tmp_path / "folder" / "gpu.timings"
    builder.run(job(tmp_path, timing_cache=str(cache)))
    assert recorder.notes["timings"] == b""
    builder.run(job(tmp_path, timing_cache=str(cache)))
    assert recorder.notes["timings"] == b"new timings"
    assert [path.name for path in cache.parent.iterdir()] == ["gpu.timings"]


def test_what_the_parser_refuses_is_named(trt: Any, tmp_path: Path) -> None:
    record(trt, accepts=False)
    report = builder.run(job(tmp_path))
    assert report.findings == [ParserFinding(node="/neck/Foo", operator="Foo", reason="unknown")]
    assert report.bytes is None
    assert not (tmp_path / "engine").exists()


def test_a_failed_build_carries_what_the_library_said(trt: Any, tmp_path: Path) -> None:
    record(trt, plan=None)
    report = builder.run(job(tmp_path))
    assert (report.bytes, report.error) == (None, "no tactic fits")


def test_progress_is_told(trt: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(trt)
    builder.run(job(tmp_path))
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [line.startswith(builder.MARK) for line in lines] == [True] * 3
    assert '"step":1,"steps":2' in lines[1]


# ---- the waiting process


def pretend(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run Python code instead of the builder."""
    popen = subprocess.Popen

    def replaced(command: list[str], **options: Any) -> Any:
        return popen([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "Popen", replaced)


def test_a_crash_is_an_error_with_the_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(
        monkeypatch,
        f"import os; print('checking tactics', flush=True); os.kill(os.getpid(), {signal.SIGSEGV})",
    )
    with pytest.raises(InferenceError, match=r"ended by signal 11 on graph\.onnx.*checking tactic"):
        builds.build(job(tmp_path))


def test_a_kill_hints_at_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    with pytest.raises(InferenceError, match="memory ran out"):
        builds.build(job(tmp_path))


def test_a_report_before_a_crash_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(
        monkeypatch,
        "from samedge.runtimes.tensorrt.builder import *; import os; "
        "emit(BuildReport(version='1', bytes=1)); os._exit(3)",
    )
    with pytest.raises(InferenceError, match="ended with code 3"):
        builds.build(job(tmp_path))


def test_reports_and_progress_arrive_between_chatter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(
        monkeypatch,
        "from samedge.runtimes.tensorrt.builder import *; import sys; sys.stdout.write('chat'); "
        "emit(BuildStep(phase='a', step=1, steps=2)); print('chat'); "
        "emit(BuildReport(version='1', bytes=7))",
    )
    heard: list[tuple[int, int]] = []
    said: list[str] = []
    report = builds.build(
        job(tmp_path), progress=lambda done, total: heard.append((done, total)), stage=said.append
    )
    assert report.bytes == 7
    assert (heard, said) == ([(1, 2)], ["a"])


def test_an_interrupt_ends_the_builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    pretend(
        monkeypatch,
        "from samedge.runtimes.tensorrt.builder import *; import os, time, pathlib; "
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); "
        "emit(BuildStep(phase='a', step=1, steps=2)); time.sleep(600)",
    )

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builds.build(job(tmp_path), progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_capability_of_a_library_that_times_kernels() -> None:
    with pytest.raises(OptionError, match="build on the device"):
        engines.device_of_capability("8.7", FLAVOURS["tensorrt"])
    with pytest.raises(OptionError, match=r"'8\.7', expected one .*8\.6"):
        engines.device_of_capability("8.7", FLAVOURS["tensorrt-rtx"])


# ---- with TensorRT for RTX itself


@pytest.fixture
def rtx() -> str:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install 'samedge[tensorrt-rtx]'")
    return "tensorrt-rtx"


def test_rtx_compiles_without_a_gpu(rtx: str, tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "engine"
    report = builds.build(
        BuildJob(flavour=rtx, onnx=str(GRAPH), engine=str(path), capabilities=["8.6"]),
        stage=said.append,
    )
    assert report.bytes == path.stat().st_size > 1000
    assert said


def test_rtx_says_why_a_file_is_no_graph(rtx: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"this is no graph")
    with pytest.raises(InferenceError, match=r"cannot parse broken\.onnx: .*no graph"):
        builds.build(BuildJob(flavour=rtx, onnx=str(path)))
