"""What `samedge export` writes."""

from __future__ import annotations

from typing import Any

import msgspec

EXPORT_SCHEMA = "samedge.export/1"


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
