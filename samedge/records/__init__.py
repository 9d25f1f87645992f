"""The documents that `eval` and `bench` write and `report` reads: one schema, many machines.

A figure that was not measured is ``None``, never 0. Lengths are pixels, times milliseconds
(``*_ms``), sizes bytes (``*_bytes``). Readers ignore fields that they do not know, so that fields
may be added without a new schema number.
"""

from __future__ import annotations

from samedge.records.accuracy import (
    EVAL_SCHEMA,
    DatasetRecord,
    EvalRecord,
    EvalRow,
    EverythingRow,
    Example,
    ExampleMask,
    FailedImage,
    InstanceScore,
    ScoredInstance,
)
from samedge.records.documents import (
    Record,
    fields,
    read,
    write,
)
from samedge.records.export import (
    EXPORT_SCHEMA,
    ExportedArtifact,
    ExportedBundle,
    ExportRecord,
)
from samedge.records.latency import (
    BENCH_SCHEMA,
    BenchRecord,
    Comparison,
    PageRow,
    RateRow,
    ResidencyRow,
    StageRow,
    StageSamples,
    SustainedRow,
    Verdict,
    Workload,
    WorkloadBlock,
    WorkloadImage,
)
from samedge.records.machine import (
    Environment,
    GpuRecord,
    Power,
)
from samedge.records.subjects import (
    OpenedSubject,
    Subject,
    subject_fields,
)
from samedge.records.video import StreamRow, VideoRow
from samedge.records.words import WordRow, WordScore

__all__ = [
    "BENCH_SCHEMA",
    "EVAL_SCHEMA",
    "EXPORT_SCHEMA",
    "BenchRecord",
    "Comparison",
    "DatasetRecord",
    "Environment",
    "EvalRecord",
    "EvalRow",
    "EverythingRow",
    "Example",
    "ExampleMask",
    "ExportRecord",
    "ExportedArtifact",
    "ExportedBundle",
    "FailedImage",
    "GpuRecord",
    "InstanceScore",
    "OpenedSubject",
    "PageRow",
    "Power",
    "RateRow",
    "Record",
    "ResidencyRow",
    "ScoredInstance",
    "StageRow",
    "StageSamples",
    "StreamRow",
    "Subject",
    "SustainedRow",
    "Verdict",
    "VideoRow",
    "WordRow",
    "WordScore",
    "Workload",
    "WorkloadBlock",
    "WorkloadImage",
    "fields",
    "read",
    "subject_fields",
    "write",
]
