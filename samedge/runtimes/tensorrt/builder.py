"""The process that builds one engine: ``python -m samedge.runtimes.tensorrt.builder JOB.json``.

A builder may crash, or take its process along when memory runs out, so it always has a process of
its own. What it has to say goes to standard output as lines that start with :data:`MARK`; native
chatter may stand between them. The networks are strongly typed: what a tensor is computed in stands
in the ONNX file, and TensorRT 10 and 11 read it alike.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from samedge import _cache
from samedge.runtimes.tensorrt.flavours import FLAVOURS
from samedge.runtimes.tensorrt.listener import Listener

MARK = "@samedge "
DEFAULT_RANGE = (1, 4, 16)
"""Smallest, usual and largest size of a dynamic axis of an input that no profile names."""

Profile = dict[str, tuple[int, ...]]
"""The shape of each dynamic input."""


class BuildJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to build.

    Attributes:
        flavour: name of the library.
        onnx: the strongly typed graph.
        engine: where to write the engine, or ``None`` to parse only.
        profiles: optimization profiles of fixed shape: the shapes of the dynamic inputs by name.
        capabilities: compute capabilities such as ``"8.6"`` to compile for (TensorRT for RTX only);
            empty means the GPU that is here.
        workspace_bytes: scratch memory that kernels may ask for; ``None`` leaves the library's
            default.
        timing_cache: file of kernel timings that is read and renewed, or ``None``.
        tf32: whether float32 products may be rounded to 10 bits of mantissa.
    """

    flavour: str
    onnx: str
    engine: str | None = None
    profiles: list[Profile] = []
    capabilities: list[str] = []
    workspace_bytes: int | None = None
    timing_cache: str | None = None
    tf32: bool = False


class ParserFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A node that the parser refuses, and why."""

    node: str
    operator: str
    reason: str


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a job.

    Attributes:
        version: of the library.
        findings: nodes that the parser refused; no engine was built if there are any.
        layers: of the parsed network.
        bytes: of the engine; ``None`` where none was asked for or the build failed.
        error: what the builder said when it failed.
    """

    version: str
    findings: list[ParserFinding] = []
    layers: int = 0
    bytes: int | None = None
    error: str = ""


class BuildStep(msgspec.Struct, frozen=True, kw_only=True):
    """Steps that one phase of the build has done."""

    phase: str
    step: int
    steps: int


def emit(record: BuildStep | BuildReport) -> None:
    """Tell the waiting process."""
    kind = type(record).__name__
    line = msgspec.json.encode({"kind": kind, "record": record}).decode()
    sys.stdout.write(f"\n{MARK}{line}\n")
    sys.stdout.flush()


def run(job: BuildJob) -> BuildReport:
    """Do a job in this process."""
    trt = FLAVOURS[job.flavour].load()
    listener = Listener(trt)
    builder = trt.Builder(listener.native)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, listener.native)
    version = str(trt.__version__)
    if not parser.parse_from_file(job.onnx):
        return BuildReport(version=version, findings=_findings(parser))
    layers = int(network.num_layers)
    if not layers:  # TensorRT for RTX 1.7 takes any bytes for an empty network
        empty = ParserFinding(node="", operator="", reason="the file holds no graph")
        return BuildReport(version=version, findings=[empty])
    if job.engine is None:
        return BuildReport(version=version, layers=layers)
    config = _config(trt, builder, network, job)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return BuildReport(version=version, layers=layers, error=listener.last_words())
    content = memoryview(plan)
    Path(job.engine).write_bytes(content)
    _keep_timings(config, job)
    return BuildReport(version=version, layers=layers, bytes=content.nbytes)


def _network_flags(trt: Any) -> int:
    """Strongly typed; TensorRT 11 knows nothing else and may not have the flag."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _findings(parser: Any) -> list[ParserFinding]:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return [
        ParserFinding(
            node=_text(error, "node_name"),
            operator=_text(error, "node_operator"),
            reason=str(error.desc()),
        )
        for error in errors
    ] or [ParserFinding(node="", operator="", reason="the parser gave no reason")]


def _text(error: Any, name: str) -> str:
    read = getattr(error, name, None)
    return "" if read is None else str(read())


def _config(trt: Any, builder: Any, network: Any, job: BuildJob) -> Any:
    config = builder.create_builder_config()
    if job.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_bytes)
    if not job.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if job.capabilities:
        config.num_compute_capabilities = len(job.capabilities)
        for index, capability in enumerate(job.capabilities):
            name = "SM" + capability.replace(".", "")
            config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    if job.timing_cache is not None:
        known = bytes(_cache.kept(Path(job.timing_cache)) or b"")
        # Timings of another GPU or version are refused by the library itself.
        config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)
    _add_profiles(builder, network, config, job)
    config.progress_monitor = _monitor(trt)
    return config


def _add_profiles(builder: Any, network: Any, config: Any, job: BuildJob) -> None:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    dynamic = [tensor for tensor in inputs if -1 in tuple(tensor.shape)]
    if not dynamic:
        return
    for wanted in job.profiles or [{}]:
        profile = builder.create_optimization_profile()
        for tensor in dynamic:
            sizes = _sizes(tensor, wanted.get(tensor.name))
            smallest, usual, largest = zip(*sizes, strict=True)
            profile.set_shape(tensor.name, smallest, usual, largest)
        config.add_optimization_profile(profile)


def _sizes(tensor: Any, wanted: tuple[int, ...] | None) -> list[tuple[int, int, int]]:
    """Smallest, usual and largest size of every axis."""
    if wanted is not None:
        return [(size, size, size) for size in wanted]
    own = map(int, tensor.shape)
    return [(size, size, size) if size >= 0 else DEFAULT_RANGE for size in own]


def _keep_timings(config: Any, job: BuildJob) -> None:
    cache = None if job.timing_cache is None else config.get_timing_cache()
    if cache is None or job.timing_cache is None:
        return
    _cache.keep(Path(job.timing_cache), memoryview(cache.serialize()))


def _monitor(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            self.steps[phase_name] = num_steps
            emit(BuildStep(phase=phase_name, step=0, steps=num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            emit(BuildStep(phase=phase_name, step=step + 1, steps=self.steps[phase_name]))
            return True

        def phase_finish(self, phase_name: str) -> None:
            steps = self.steps.pop(phase_name)
            emit(BuildStep(phase=phase_name, step=steps, steps=steps))

    return Monitor()


def main(arguments: Sequence[str]) -> None:
    """Do the job in the file that is named first."""
    job = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=BuildJob)
    emit(run(job))


if __name__ == "__main__":
    main(sys.argv[1:])
