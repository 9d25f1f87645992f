"""Engine builds, as the waiting process sees them: progress, errors, and no crash of its own."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec

from samedge.errors import InferenceError
from samedge.files.scratch import scratch_folder
from samedge.machine.child import start_python
from samedge.runtimes.tensorrt import builder
from samedge.runtimes.tensorrt.builder import MARK, BuildJob, BuildReport, BuildStep, ParserFinding
from samedge.types import Progress, Stage

_KEPT_LINES = 12
_SHOWN_FINDINGS = 5


class _Line(msgspec.Struct, frozen=True):
    kind: str
    record: msgspec.Raw


def run_job(
    job: BuildJob, *, progress: Progress | None = None, stage: Stage | None = None
) -> BuildReport:
    """Do a job in a process of its own and report what it found.

    Args:
        job: what to build.
        progress: hears of every step within the builder's phase.
        stage: is told the phase.

    Raises:
        InferenceError: the process died without a report.
    """
    with scratch_folder() as folder:
        path = folder / "job.json"
        path.write_bytes(msgspec.json.encode(job))
        child = start_python(
            builder.__name__, [str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert child.stdout is not None
        chatter: deque[str] = deque(maxlen=_KEPT_LINES)
        try:
            report = _followed(child.stdout, chatter, progress=progress, stage=stage)
            code = child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            child.stdout.close()
    if report is None or code != 0:
        raise InferenceError(_last_words(job, code, chatter))
    return report


def _followed(
    lines: Iterable[str], chatter: deque[str], *, progress: Progress | None, stage: Stage | None
) -> BuildReport | None:
    report = None
    for text in lines:
        if not text.startswith(MARK):
            chatter.extend([text.strip()] if text.strip() else [])
            continue
        line = msgspec.json.decode(text[len(MARK) :], type=_Line)
        if line.kind == BuildStep.__name__:
            step = msgspec.json.decode(line.record, type=BuildStep)
            if stage is not None:
                stage(step.phase)
            if progress is not None:
                progress(step.step, step.steps)
        else:
            report = msgspec.json.decode(line.record, type=BuildReport)
    return report


def _last_words(job: BuildJob, code: int, chatter: Iterable[str]) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    hint = (
        " Signal 9 usually means that memory ran out: close other programs, add swap, or give the "
        "kernels less scratch memory with `samedge build --workspace 256`."
        if code == -9
        else ""
    )
    said = " | ".join(chatter) or "nothing"
    name = Path(job.onnx).name
    return f"The {job.flavour} builder {how} on {name}.{hint} Its last words: {said}"


def build(
    job: BuildJob, *, progress: Progress | None = None, stage: Stage | None = None
) -> BuildReport:
    """Build an engine.

    Args:
        job: with an ``engine`` to write.
        progress: hears of every step within the builder's phase.
        stage: is told the phase.

    Raises:
        InferenceError: the parser refuses a node, or the build fails or dies; the message names
            the nodes or carries what the library said.
    """
    report = run_job(job, progress=progress, stage=stage)
    name = Path(job.onnx).name
    if report.findings:
        raise InferenceError(
            f"{job.flavour} {report.version} cannot parse {name}: {_listed(report.findings)}. "
            "Export the graph with `samedge export --target jetson`."
        )
    if job.engine is not None and report.bytes is None:
        raise InferenceError(
            f"{job.flavour} {report.version} cannot build an engine of {name}: {report.error}"
        )
    return report


def _listed(findings: list[ParserFinding]) -> str:
    shown = [
        f"{finding.operator or 'node'} {finding.node!r}: {finding.reason}"
        for finding in findings[:_SHOWN_FINDINGS]
    ]
    more = len(findings) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")
