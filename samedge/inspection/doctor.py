"""Says which backends and devices work on this machine, and runs a real small graph on each.

Every backend is looked at in a process of its own: the broken installation that this is meant to
find may crash the interpreter when it is imported, and must not take the report with it.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from samedge import runtimes
from samedge.errors import InferenceError
from samedge.files.scratch import scratch_folder
from samedge.files.writing import write_bytes
from samedge.machine.child import ending, last_words, start_python
from samedge.machine.environment import environment
from samedge.machine.known_problems import Facts, Problem, find_problems
from samedge.runtimes.base import Backend, Probe, Session

SELFTEST = Path(__file__).parents[1] / "data" / "selftest"
"""The same small function in the formats that can be read without the tool that exports them;
every backend names the file that it opens."""

TOLERANCE = 0.05
"""Largest accepted difference: results lie in 0..1 and bf16 is 0.006 off; a wrong layout is 0.7."""

TIMEOUT_S = 120.0


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the small graph on one device.

    Attributes:
        device: in the backend's own words.
        ok: whether the result was right.
        ms: time of one run after the first, or ``None`` when it failed.
        max_error: largest difference from the expected result, or ``None`` when nothing came back.
        error: why it failed, empty when it did not.
    """

    device: str
    ok: bool
    ms: float | None = None
    max_error: float | None = None
    error: str = ""


class BackendReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one backend.

    Attributes:
        name: the name that ``--backend`` takes.
        available: whether the library is here and can be used.
        version: of the library, ``None`` when it is not installed.
        devices: the library's own device strings, best first.
        detail: what was found, or what is missing.
        fix: the command that would make it available; empty when nothing is missing.
        selftest: the run on the first device; ``None`` where there was nothing to run.
        selftests: the runs on all devices.
    """

    name: str
    available: bool
    version: str | None = None
    devices: tuple[str, ...] = ()
    detail: str = ""
    fix: str = ""
    selftest: SelfTest | None = None
    selftests: tuple[SelfTest, ...] = ()


def examine(names: Sequence[str] | None = None, *, isolated: bool = True) -> list[BackendReport]:
    """Examine backends.

    Args:
        names: which ones; all when ``None``.
        isolated: each in a process of its own, so that a crash is a finding.

    Raises:
        UnknownNameError: there is no backend of such a name.
    """
    chosen = list(runtimes.names() if names is None else names)
    for name in chosen:
        runtimes.get(name)
    if not isolated:
        return [examine_backend(name) for name in chosen]
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(_examine_in_subprocess, chosen))


def known_problems(reports: Sequence[BackendReport]) -> list[Problem]:
    """Known-bad combinations of what is installed here and what the backends found.

    Args:
        reports: from ``examine``.
    """
    machine = environment()
    return find_problems(
        Facts(
            versions=machine.packages,
            devices={report.name: report.devices for report in reports if report.available},
            tensorrt=machine.tensorrt,
            jetpack=machine.jetpack,
            tensorrt_imports=importlib.util.find_spec("tensorrt") is not None,
            cuda_driver=machine.cuda_driver,
            capabilities=[
                gpu.compute_capability for gpu in machine.gpus or () if gpu.compute_capability
            ],
        )
    )


def examine_backend(name: str) -> BackendReport:
    """Probe one backend and run the small graph on each of its devices, in this process."""
    backend = runtimes.get(name)
    probe = backend.probe()
    tests: tuple[SelfTest, ...] = ()
    if probe.available and backend.selftest:
        graph = SELFTEST / backend.selftest
        tests = tuple(run_selftest(backend, device, graph=graph) for device in probe.devices)
    return _report(name, probe, tests)


def _report(name: str, probe: Probe, tests: tuple[SelfTest, ...]) -> BackendReport:
    return BackendReport(
        name=name,
        available=probe.available,
        version=probe.version,
        devices=probe.devices,
        detail=probe.detail,
        fix=probe.fix,
        selftest=tests[0] if tests else None,
        selftests=tests,
    )


def run_selftest(backend: Backend, device: str, *, graph: Path) -> SelfTest:
    """Run the small graph on one device and compare with what the formula gives.

    Whatever goes wrong is the finding, so nothing is raised.
    """
    try:
        with backend.open(graph, device=device) as session:
            error, latency_ms = _measure(session)
    except Exception as failure:  # noqa: BLE001  # any failure of a native library is the finding
        return SelfTest(device=device, ok=False, error=f"{type(failure).__name__}: {failure}")
    if not error <= TOLERANCE:
        wrong = f"The result is off by {error:.3g}, expected at most {TOLERANCE}."
        return SelfTest(device=device, ok=False, ms=latency_ms, max_error=error, error=wrong)
    return SelfTest(device=device, ok=True, ms=latency_ms, max_error=error)


def _measure(session: Session) -> tuple[float, float]:
    """Largest error, and the time of the second run in ms."""
    with np.load(SELFTEST / "expected.npz") as file:
        image, expected = file["image"], file["result"]
    spec = session.inputs[0]
    feeds = {spec.name: image.astype(spec.dtype)}
    session.run(feeds)
    start = time.perf_counter()
    results = session.run(feeds)
    latency_ms = (time.perf_counter() - start) * 1000
    result = next(iter(results.values()))
    if result.shape != expected.shape:
        raise InferenceError(f"The result has shape {result.shape}, expected {expected.shape}.")
    return float(np.abs(result.astype(np.float32) - expected).max()), latency_ms


def _examine_in_subprocess(name: str) -> BackendReport:
    with scratch_folder() as folder:
        path = folder / "report.json"
        child = start_python(
            __name__,
            [name, str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            _, said = child.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            return _broken(name, f"did not answer within {TIMEOUT_S:.0f} s")
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=BackendReport)
        how = f"crashed its process with {ending(child.returncode)}; its last words"
        return _broken(name, f"{how}: {last_words(said)}")


def _broken(name: str, what: str) -> BackendReport:
    return BackendReport(
        name=name,
        available=False,
        detail=f"The {name} backend {what}.",
        fix=runtimes.get(name).reinstall,
    )


def _child(arguments: Sequence[str]) -> None:
    """Examine one backend and leave the report in a file, away from native libraries' chatter."""
    name, path = arguments
    report = examine_backend(name)
    write_bytes(Path(path), msgspec.json.encode(report))


if __name__ == "__main__":
    _child(sys.argv[1:])
