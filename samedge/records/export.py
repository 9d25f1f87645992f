"""What `samedge export` writes."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec

EXPORT_SCHEMA = "samedge.export/1"


class ExportedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """Where a bundle was written, and its identity."""

    path: str | None = None
    id: str | None = None


class ExportedArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """One graph's file."""

    role: str | None = None
    path: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    format: str | None = None
    precision: str | None = None


class ExportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `samedge export`, as far as a report shows it."""

    bundle: ExportedBundle
    artifacts: list[ExportedArtifact] = []
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


class ParityFigures(TypedDict, total=False):
    """What is shown of ``parity``."""

    mask_iou_mean: float | None
    mask_iou_p05: float | None
    embedding_cosine_min: float | None


class StepFigures(TypedDict, total=False):
    """What is shown of a row of ``plan``, ``sensitivity``, ``choices`` or ``accuracy``."""

    drop: float | None
    total_ratio: float | None
    size_ratio: float | None


class AccuracyFigures(TypedDict, total=False):
    """What is shown of ``accuracy``."""

    rows: list[StepFigures] | None


class ExportFigures(msgspec.Struct):
    """Figures within the fields of a record that hold anything: a record is read against them."""

    parity: ParityFigures | None = None
    plan: list[StepFigures] = []
    sensitivity: list[StepFigures] = []
    accuracy: AccuracyFigures | None = None
    choices: list[StepFigures] = []
