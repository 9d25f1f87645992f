"""What `samedge bench` writes."""

from __future__ import annotations

import msgspec

from samedge.records.machine import Environment
from samedge.records.subjects import Subject
from samedge.records.video import StreamRow

BENCH_SCHEMA = "samedge.bench/1"


class StageSamples(msgspec.Struct, frozen=True, kw_only=True):
    """Every sample of one stage: ms by block, and the index of the image that each block ran on."""

    blocks_ms: list[list[float]]
    images: list[int]


class StageRow(Subject, frozen=True, kw_only=True):
    """Latency of one stage of one subject.

    Attributes:
        stage: ``load``, ``first``, ``preprocess``, ``encode``, ``decode``, ``postprocess`` or
            ``end_to_end`` (one image and one prompt to one mask).
        n: samples; all of them count in every figure.
        cov: coefficient of variation.
        outliers: samples outside of Tukey's fences, counted and kept; ``None`` with fewer than
            four samples.
        cold_ms: for ``load`` and ``first``: one start with nothing cached; the other samples are
            starts with the operating system's and the backend's caches filled.
        block_p50_ms: medians of the blocks, in the order of measurement; block i of one subject
            ran next to block i of every other subject of the record.
        histogram_ms: ``[left edge, right edge, count]`` of the distribution's bins.
        samples: every sample, where the plan asked to keep them, so that rounds can be joined.
    """

    stage: str
    n: int
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    mean_ms: float | None
    min_ms: float | None
    cov: float | None
    peak_rss_bytes: int | None
    artifact_bytes: int | None
    max_ms: float | None = None
    outliers: int | None = None
    cold_ms: float | None = None
    block_p50_ms: list[float] = []
    histogram_ms: list[tuple[float, float, int]] = []
    samples: StageSamples | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One subject against another in one stage, from interleaved pairs of one run.

    Attributes:
        speedup: how many times faster ``first`` is than ``second``; below 1 it is slower.
        ci95: bootstrap interval over the pairs.
        faster: the key of the faster one, or ``None`` when the interval holds 1.
        differences: what else differs between the two, so that nobody compares unawares.
    """

    stage: str
    first: list[str]
    second: list[str]
    pairs: int
    speedup: float | None
    ci95: tuple[float, float] | None
    faster: list[str] | None
    differences: list[str] = []


class RateRow(Subject, frozen=True, kw_only=True):
    """Frames a second when every frame is asked so many prompts at once."""

    prompts_per_frame: int
    n: int
    p50_ms: float
    frames_per_s: float


class SustainedRow(Subject, frozen=True, kw_only=True):
    """The last half minute of a long run against its first.

    Attributes:
        slowdown: ``last_p50_ms / first_p50_ms``.
        series: ``[seconds since the start, median ms]`` of slices of the run.
    """

    seconds: float
    n: int
    first_p50_ms: float
    last_p50_ms: float
    slowdown: float
    series: list[tuple[float, float]]


class Verdict(Subject, frozen=True, kw_only=True):
    """Whether a subject meets a deadline at its 99th percentile.

    Attributes:
        met: ``None`` when the samples cannot tell.
        late: share of the frames that came too late.
    """

    deadline_ms: float
    met: bool | None
    p99_ms: float | None
    late: float | None
    n: int
    why: str


class ResidencyRow(Subject, frozen=True, kw_only=True):
    """Where the library plans to execute one graph, where it says so.

    Attributes:
        role: ``encoder`` or ``decoder``.
        shares: of the estimated cost, by engine such as ``ne``, ``gpu``, ``cpu``.
    """

    role: str
    shares: dict[str, float]


class WorkloadImage(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of a benchmark."""

    path: str
    height: int
    width: int


class WorkloadBlock(msgspec.Struct, frozen=True, kw_only=True):
    """When a block of a benchmark ends, and how many predictions before it do not count."""

    seconds: float
    count: int
    unrecorded_before: int


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark ran: pictures, prompt, and when it was enough."""

    images: list[WorkloadImage] = []
    prompt: str = ""
    seconds: float | None = None
    count: int | None = None
    launches: int | None = None
    block: WorkloadBlock | None = None


class PageRow(Subject, frozen=True, kw_only=True):
    """One bundle's page in a browser: what was measured beside its stages.

    Attributes:
        engine: what the page says that it computes with.
        browser: name and version.
        site_bytes: of all files that the site has.
        transfer_bytes: of the files that a first visit loads, compressed as a host would.
        canary_ms: median from the ready page until its answers were checked; a photo that is
            opened sooner waits.
        peak_bytes: largest resident memory of the page's process, the browser's own code included.
        empty_bytes: the same of an empty page.
        footprint_bytes: largest memory footprint of the page's process, as Chrome's task manager
            counts it: its own memory, resident or swapped, without the program that all tabs share.
        empty_footprint_bytes: the same of an empty page.
        shared_bytes: largest shared memory of the page's process, pictures above all, which its
            footprint leaves out.
        encode_cpu_ms: processor time of the page's process an encode, its preparation included.
        click_cpu_ms: the same of a click, from the mouse to the painted mask.
    """

    engine: str
    browser: str
    site_bytes: int
    transfer_bytes: int
    canary_ms: float | None = None
    peak_bytes: int | None = None
    empty_bytes: int | None = None
    footprint_bytes: int | None = None
    empty_footprint_bytes: int | None = None
    shared_bytes: int | None = None
    encode_cpu_ms: float | None = None
    click_cpu_ms: float | None = None


class BenchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `samedge bench`."""

    environment: Environment
    results: list[StageRow]
    comparisons: list[Comparison] = []
    prompt_rate: list[RateRow] = []
    sustained: list[SustainedRow] = []
    deadline: list[Verdict] = []
    residency: list[ResidencyRow] = []
    stream: list[StreamRow] = []
    pages: list[PageRow] = []
    warnings: list[str] = []
    workload: Workload = Workload()
    command: str | None = None
    seconds: float | None = None
    schema: str = BENCH_SCHEMA
    samedge_version: str | None = None
    created: str | None = None
