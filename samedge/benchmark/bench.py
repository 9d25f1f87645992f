"""Latency of every stage, measured so that a careful engineer would sign the figures.

Each subject (a bundle on a backend and a device) runs in processes of its own. In every launch all
subjects' processes are open at once and take turns in short blocks on the same image, so that
whatever disturbs the machine disturbs all of them; block i of one is the pair of block i of the
other. A launch ends when the last subject has its minimum time *and* its minimum count.
docs/benchmarking.md has the method.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from samedge._cache import VARIABLE as CACHE_VARIABLE
from samedge.benchmark.latency import (
    STAGES,
    START_STAGES,
    Samples,
    compare,
    stage_row,
    variation_warnings,
    verdict,
)
from samedge.benchmark.messages import Closed, Measured, Opened
from samedge.benchmark.plan import EFFORTS, Effort, Plan, effort, find_images
from samedge.benchmark.process import ChosenSubject, WorkerProcess
from samedge.bundle.bundle import bundle_path
from samedge.files.scratch import scratch_folder
from samedge.machine import power
from samedge.machine.disturbance import Watch
from samedge.machine.environment import environment
from samedge.records import (
    BenchRecord,
    RateRow,
    ResidencyRow,
    StageRow,
    Subject,
    SustainedRow,
    Workload,
    WorkloadBlock,
    WorkloadImage,
    subject_fields,
)
from samedge.types import Progress, Stage, Steps

__all__ = ["EFFORTS", "Effort", "Plan", "bench", "effort", "find_images"]

BLOCK_SECONDS, BLOCK_COUNT = 0.5, 8
RATE_SECONDS, RATE_COUNT = 1.0, 5
SUSTAINED_WINDOW_SECONDS = 30.0
SLICE_SECONDS = 5.0
_POINTS = 8


@dataclasses.dataclass
class _Run:
    """What has been measured of one subject so far.

    Attributes:
        cache: samedge's cache for its processes: empty at the cold start, filled by it afterwards.
    """

    choice: ChosenSubject
    cache: Path
    stages: dict[str, Samples] = dataclasses.field(
        default_factory=lambda: {stage: Samples() for stage in STAGES}
    )
    subject: Subject = dataclasses.field(default_factory=lambda: Subject(bundle="", backend=""))
    artifact_bytes: int | None = None
    residency: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    peak_rss_bytes: int | None = None
    frequencies: list[float] = dataclasses.field(default_factory=list)
    throttled: set[str] = dataclasses.field(default_factory=set)

    def process(self) -> WorkerProcess:
        """A fresh process for the subject."""
        return WorkerProcess(self.choice, {CACHE_VARIABLE: os.fspath(self.cache)})

    def opened(self, reply: Opened) -> None:
        """Take in a start."""
        found = reply.subject
        self.subject, self.residency = found.subject, found.residency
        self.artifact_bytes = found.artifact_bytes

    def started(self, reply: Opened) -> None:
        """Take in a start whose times count."""
        self.opened(reply)
        for stage in START_STAGES:
            self.stages[stage].add([getattr(reply, stage)])

    def measured(self, reply: Measured, *, image: int) -> None:
        """Take in one block."""
        for stage, values in reply.samples.items():
            self.stages[stage].add(values, image=image)
        if reply.frequency_mhz:
            self.frequencies.append(reply.frequency_mhz)
        self.throttled.update(reply.throttled)

    def closed(self, reply: Closed) -> None:
        """Take in the memory of a process that ends."""
        if reply.peak_rss_bytes is not None:
            self.peak_rss_bytes = max(self.peak_rss_bytes or 0, reply.peak_rss_bytes)

    def rows(self, *, keep_samples: bool) -> list[StageRow]:
        """One row a stage that was measured."""
        return [
            stage_row(
                self.subject,
                stage,
                samples=samples,
                peak_rss_bytes=self.peak_rss_bytes,
                artifact_bytes=self.artifact_bytes,
                keep_samples=keep_samples,
            )
            for stage, samples in self.stages.items()
            if samples.blocks
        ]


def bench(
    subjects: Sequence[ChosenSubject],
    plan: Plan,
    *,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> BenchRecord:
    """Measure every subject side by side.

    Args:
        subjects: at least one.
        plan: what to measure and for how long.
        progress: hears of every block; how many there will be depends on what they show.
        stage: is told what came out so far.

    Raises:
        ImageError: a picture cannot be read.
        BackendUnavailableError: a subject's backend or device is not here.
        BundleError: a subject's bundle is missing or altered.
        InferenceError: a subject's process ended before its time.
    """
    began = time.perf_counter()
    workload = _workload(plan)  # before the work, which a picture that cannot be read would cost
    watch = Watch()
    steps = Steps(progress=progress, stage=stage)
    with scratch_folder() as folder:
        runs = [_Run(one, folder / str(index)) for index, one in enumerate(subjects)]
        for run in runs:
            _cold_start(run, plan)
            steps.step(f"cold start of {run.subject.bundle} on {run.subject.backend}")
        for launch in range(plan.effort.launches):
            _launch(runs, plan, launch=launch, steps=steps)
        rates = list(_prompt_rate(runs, plan, steps=steps))
        sustained = [row for run in runs for row in _sustained(run, plan, steps=steps)]
    rows = [row for run in runs for row in run.rows(keep_samples=plan.keep_samples)]
    frequencies = max((run.frequencies for run in runs), key=len, default=[])
    throttled = {what for run in runs for what in run.throttled}
    return BenchRecord(
        environment=environment(threads=plan.threads),
        results=rows,
        comparisons=list(compare(rows)),
        prompt_rate=rates,
        sustained=sustained,
        deadline=[
            verdict(run.subject, run.stages["end_to_end"].values, deadline_ms=plan.deadline_ms)
            for run in runs
            if plan.deadline_ms is not None
        ],
        residency=[
            ResidencyRow(role=role, shares=shares, **subject_fields(run.subject))
            for run in runs
            for role, shares in run.residency.items()
        ],
        warnings=[*watch.warnings(frequencies, throttled=throttled), *variation_warnings(rows)],
        workload=workload,
        seconds=round(time.perf_counter() - began, 3),
    )


def _points() -> list[tuple[float, float]]:
    """Where the prompts click, as shares of width and height; the same in every run."""
    drawn = np.random.default_rng(0).uniform(0.2, 0.8, size=(_POINTS, 2)).round(4)
    return [(float(x), float(y)) for x, y in drawn]


def _open(worker: WorkerProcess, plan: Plan) -> Opened:
    return worker.open(threads=plan.threads, image=plan.images[0], point=_points()[0])


def _cold_start(run: _Run, plan: Plan) -> None:
    """Start once with samedge's cache empty and the bundle's files out of memory."""
    run.cache.mkdir()
    _evict(bundle_path(run.choice.bundle))
    with run.process() as worker:
        reply = _open(worker, plan)
        worker.close()
    run.opened(reply)
    for stage in START_STAGES:
        run.stages[stage].cold_ms = getattr(reply, stage)


def _evict(bundle: Path) -> None:
    """Ask the system to forget a bundle's files; where it cannot be asked, they stay in memory."""
    if not hasattr(os, "posix_fadvise"):
        return
    files = [bundle] if bundle.is_file() else [p for p in bundle.rglob("*") if p.is_file()]
    for path in files:
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def _workers(runs: Sequence[_Run]) -> Iterator[list[tuple[_Run, WorkerProcess]]]:
    """Fresh processes for all, opened one after the other."""
    with contextlib.ExitStack() as stack:
        pairs = []
        for run in runs:
            worker = stack.enter_context(run.process())
            pairs.append((run, worker))
        yield pairs


@dataclasses.dataclass
class _Progress:
    """How far one subject is within one launch."""

    run: _Run
    worker: WorkerProcess
    seconds: float = 0.0
    count: int = 0

    def measure(self, plan: Plan, image: int) -> None:
        """Let it have its turn on one image."""
        reply = self.worker.block(
            plan.images[image], _points(), seconds=BLOCK_SECONDS, count=BLOCK_COUNT
        )
        self.run.measured(reply, image=image)
        values = reply.samples["end_to_end"]
        self.seconds += sum(values) / 1000
        self.count += len(values)

    def is_enough(self, plan: Plan) -> bool:
        """Whether this launch has its share of time and samples."""
        launches = plan.effort.launches
        if self.seconds < plan.effort.seconds / launches:
            return False
        if self.count < math.ceil(plan.effort.count / launches):
            return False
        if plan.deadline_ms is None or self.count >= math.ceil(plan.deadline_count / launches):
            return True
        values = self.run.stages["end_to_end"].values
        return verdict(self.run.subject, values, deadline_ms=plan.deadline_ms).met is False


def _launch(runs: Sequence[_Run], plan: Plan, *, launch: int, steps: Steps) -> None:
    with _workers(runs) as pairs:
        for run, worker in pairs:
            run.started(_open(worker, plan))
            steps.step(f"start {launch + 1} of {plan.effort.launches}, {run.subject.backend}")
        racers = [_Progress(run, worker) for run, worker in pairs]
        block = 0
        while not all(racer.is_enough(plan) for racer in racers):
            for index in _turns(len(racers), block):
                racers[index].measure(plan, (launch + block) % len(plan.images))
            steps.step(_progress_remark(runs))
            block += 1
        runs[0].throttled.update(power.gpu_slowdowns())  # while the GPU is still warm
        for run, worker in pairs:
            run.closed(worker.close())


def _turns(count: int, block: int) -> list[int]:
    """The order within a round; everybody begins in turn."""
    return [(index + block) % count for index in range(count)]


def _progress_remark(runs: Sequence[_Run]) -> str:
    medians = [
        f"{run.subject.backend} {statistics.median(run.stages['end_to_end'].values):.1f} ms"
        for run in runs
    ]
    return ", ".join(medians)


def _prompt_rate(runs: Sequence[_Run], plan: Plan, *, steps: Steps) -> Iterator[RateRow]:
    if not plan.prompts_per_frame:
        return
    with _workers(runs) as pairs:
        for run, worker in pairs:
            run.opened(_open(worker, plan))
        for prompts in plan.prompts_per_frame:
            points = [_points()[index % _POINTS] for index in range(prompts)]
            for run, worker in pairs:
                values = worker.rate(plan.images[0], points, seconds=RATE_SECONDS, count=RATE_COUNT)
                median = statistics.median(values)
                yield RateRow(
                    prompts_per_frame=prompts,
                    n=len(values),
                    p50_ms=round(median, 4),
                    frames_per_s=round(1000 / median, 3),
                    **subject_fields(run.subject),
                )
                steps.step(f"{prompts} prompts a frame: {1000 / median:.1f} frames/s")
        for _, worker in pairs:
            worker.close()


def _sustained(run: _Run, plan: Plan, *, steps: Steps) -> Iterator[SustainedRow]:
    if not plan.sustained_s:
        return
    with run.process() as worker:
        _open(worker, plan)
        series = worker.sustain(plan.images[0], _points(), seconds=plan.sustained_s)
        worker.close()
    window = min(SUSTAINED_WINDOW_SECONDS, plan.sustained_s / 2)
    first = statistics.median(value for at, value in series if at < window)
    last = statistics.median(value for at, value in series if at >= series[-1][0] - window)
    steps.step(f"sustained: {last / first:.2f} times the first half minute's latency")
    yield SustainedRow(
        seconds=plan.sustained_s,
        n=len(series),
        first_p50_ms=round(first, 4),
        last_p50_ms=round(last, 4),
        slowdown=round(last / first, 4),
        series=_slices(series),
        **subject_fields(run.subject),
    )


def _slices(series: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    slices: dict[int, list[float]] = {}
    for at, value in series:
        slices.setdefault(int(at // SLICE_SECONDS), []).append(value)
    return [(k * SLICE_SECONDS, round(statistics.median(v), 4)) for k, v in slices.items()]


def _workload(plan: Plan) -> Workload:
    from samedge.pixels.images import load_image

    shapes = [load_image(path).shape for path in plan.images]
    return Workload(
        images=[
            WorkloadImage(path=str(path), height=shape[0], width=shape[1])
            for path, shape in zip(plan.images, shapes, strict=True)
        ],
        prompt="one foreground point, one of several places in turn",
        seconds=plan.effort.seconds,
        count=plan.effort.count,
        launches=plan.effort.launches,
        block=WorkloadBlock(seconds=BLOCK_SECONDS, count=BLOCK_COUNT, unrecorded_before=1),
    )
