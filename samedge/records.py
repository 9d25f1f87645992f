"""The documents that `eval` and `bench` write and `report` reads: one schema, many machines.

A figure that was not measured is ``None``, never 0. Lengths are pixels, times milliseconds
(``*_ms``), sizes bytes (``*_bytes``). Readers ignore fields that they do not know, so that fields
may be added without a new schema number.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec

from samedge._version import __version__
from samedge.errors import DatasetError
from samedge.files.json_text import builtins_from, json_text
from samedge.files.reading import read_bytes
from samedge.files.writing import write_text

EVAL_SCHEMA, BENCH_SCHEMA, EXPORT_SCHEMA = "samedge.eval/1", "samedge.bench/1", "samedge.export/1"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: one bundle on one backend and device.

    Attributes:
        bundle: the bundle as the user named it, or a pseudo-bundle such as ``baseline:box``.
        backend: the library that executed the graphs.
        device: that library's own device string.
        bundle_id: identity of the bundle; figures with equal ids belong to the same files.
        artifact_sha256: of the encoder's and the decoder's artifact hashes, in that order.
    """

    bundle: str
    backend: str
    device: str | None = None
    backend_version: str | None = None
    bundle_id: str | None = None
    model: str | None = None
    target: str | None = None
    precision: str | None = None
    input_size: int | None = None
    artifact_sha256: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Tells subjects apart within one record."""
        return self.bundle, self.backend, self.device or ""


def subject_fields(subject: Subject) -> dict[str, Any]:
    """A subject's identity as keyword arguments of a row."""
    return {name: getattr(subject, name) for name in Subject.__struct_fields__}


class GpuRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One graphics processor and its driver."""

    name: str
    driver: str | None = None
    memory_bytes: int | None = None
    compute_capability: str | None = None
    power_limit_w: float | None = None


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that the figures come from. What cannot be read is ``None``.

    Attributes:
        cpu: the processor's name.
        isa: the instruction-set extensions that matter to inference, such as ``avx512_vnni``.
        cores: logical processors that this process may use.
        cores_physical: physical cores of the machine.
        power: power mode, governor, frequencies and sensors; each ``None`` where the system does
            not tell.
        threads: threads that were asked for; ``None`` leaves it to the backend.
        board: a device tree's model, such as a Jetson's or a Raspberry Pi's.
        cuda: version of the toolkit.
        cuda_driver: the newest CUDA that the driver runs.
        gpus: NVIDIA's, as their driver tells; others are part of ``cpu`` or of a device's name.
    """

    cpu: str | None = None
    isa: list[str] | None = None
    cores: int | None = None
    cores_physical: int | None = None
    memory_bytes: int | None = None
    os: str | None = None
    machine: str | None = None
    board: str | None = None
    python: str | None = None
    packages: dict[str, str] = {}
    power: dict[str, Any] = {}
    threads: int | None = None
    gpus: list[GpuRecord] | None = None
    cuda: str | None = None
    cuda_driver: str | None = None
    tensorrt: str | None = None
    jetpack: str | None = None
    container: bool | None = None


class EvalRow(Subject, frozen=True, kw_only=True):
    """Accuracy of one subject under one prompt protocol.

    Attributes:
        prompt: ``box``, ``center`` or ``clicks:N``.
        n: instances.
        miou: plain mean over instances of the chosen mask's IoU.
        ci95: bootstrap interval of ``miou`` over images; ``None`` with fewer than two images.
        miou_oracle: mean IoU had the best of several masks been chosen; ``None`` where the prompt
            gives one mask only.
        miou_by_click: mean IoU after each click, for ``clicks:N``.
        n_by_size: instances of each size class.
    """

    prompt: str
    n: int
    miou: float | None
    miou_small: float | None
    miou_medium: float | None
    miou_large: float | None
    boundary_iou: float | None
    ci95: tuple[float, float] | None
    miou_oracle: float | None
    miou_by_click: list[float] | None = None
    n_by_size: dict[str, int] = {}


class InstanceScore(msgspec.Struct, frozen=True, kw_only=True):
    """One instance under one prompt protocol, as one subject segmented it."""

    image: str
    annotation_id: int
    area: float
    iou: float
    boundary_iou: float
    oracle_iou: float | None
    predicted_iou: float
    ious_by_click: list[float] | None
    rle: dict[str, Any]


class ScoredInstance(InstanceScore, frozen=True, kw_only=True):
    """An instance's scores with the subject and the protocol that they belong to."""

    bundle: str
    backend: str
    device: str | None = None
    prompt: str


class ExampleMask(msgspec.Struct, frozen=True, kw_only=True):
    """One subject's mask of an example."""

    bundle: str
    backend: str
    device: str | None
    iou: float
    rle: dict[str, Any]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """The same instance as every subject segmented it: the best, the median or the worst."""

    rank: str
    prompt: str
    image: str
    annotation_id: int
    truth: dict[str, Any]
    masks: list[ExampleMask]
    frame: str | None = None


class DatasetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the accuracy was measured on.

    Attributes:
        skipped: annotations that were left out, by reason.
        images_dir: where the images lay, for reports.
        failed: images that could not be read, and why.
    """

    path: str
    images: int
    instances: int
    skipped: dict[str, int] = {}
    images_dir: str | None = None
    failed: dict[str, str] = {}


class EvalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `samedge eval`."""

    dataset: DatasetRecord
    results: list[EvalRow]
    examples: list[Example] = []
    instances: list[ScoredInstance] | None = None
    environment: Environment | None = None
    command: str | None = None
    seconds: float | None = None
    schema: str = EVAL_SCHEMA
    samedge_version: str | None = None
    created: str | None = None


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


class BenchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `samedge bench`."""

    environment: Environment
    results: list[StageRow]
    comparisons: list[Comparison] = []
    prompt_rate: list[RateRow] = []
    sustained: list[SustainedRow] = []
    deadline: list[Verdict] = []
    residency: list[ResidencyRow] = []
    warnings: list[str] = []
    workload: dict[str, Any] = {}
    command: str | None = None
    seconds: float | None = None
    schema: str = BENCH_SCHEMA
    samedge_version: str | None = None
    created: str | None = None


class ExportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `samedge export`, as far as a report shows it."""

    bundle: dict[str, Any]
    artifacts: list[dict[str, Any]] = []
    parity: dict[str, Any] | None = None
    plan: list[dict[str, Any]] = []
    sensitivity: list[dict[str, Any]] = []
    accuracy: dict[str, Any] | None = None
    choices: list[dict[str, Any]] = []
    seconds: float | None = None
    command: str | None = None
    schema: str = EXPORT_SCHEMA
    samedge_version: str | None = None
    created: str | None = None


Record = EvalRecord | BenchRecord | ExportRecord

_STRUCTS: dict[str, type[EvalRecord] | type[BenchRecord] | type[ExportRecord]] = {
    EVAL_SCHEMA: EvalRecord,
    BENCH_SCHEMA: BenchRecord,
    EXPORT_SCHEMA: ExportRecord,
}
_HEAD = ("schema", "samedge_version", "created")


def fields(record: Record) -> dict[str, Any]:
    """A record's JSON fields without its head, as the command line's output takes them."""
    document: dict[str, Any] = builtins_from(record)
    return {name: value for name, value in document.items() if name not in _HEAD}


def write(record: Record, path: Path) -> None:
    """Write a record as JSON, with its head.

    Raises:
        WriteError: the file cannot be written.
    """
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    head = {"schema": record.schema, "samedge_version": __version__, "created": now}
    write_text(path, json_text(head | fields(record), indent=1) + "\n")


def read(path: Path) -> Record:
    """Read a record of any kind.

    Raises:
        DatasetError: not a record, or one of an unknown schema.
    """
    data = read_bytes(path, limit="document_bytes", expected="a record", error=DatasetError)
    try:
        document = json.loads(data)  # msgspec refuses the escapes of names that are no UTF-8
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{path} is not JSON ({error}): give files written by samedge."
        ) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or schema not in _STRUCTS:
        raise DatasetError(
            f"{path} has schema {schema!r}, expected one of {', '.join(_STRUCTS)}: give what "
            "`samedge eval`, `bench` or `export` wrote with --json or -o."
        )
    try:
        return msgspec.convert(document, _STRUCTS[schema])
    except msgspec.ValidationError as error:
        raise DatasetError(
            f"{path} is not a whole {schema} record: {error}. Measure it again."
        ) from error
