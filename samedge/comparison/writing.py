"""A comparison's result on disk: the document, and the page that answers first."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec

from samedge._version import __version__
from samedge.comparison.run import JOINED, CompareRecord
from samedge.files.lines import created_now
from samedge.files.writing import write_bytes, write_text
from samedge.report import html_page, load_overview
from samedge.report.decision import Answer

SCHEMA = "samedge.compare/1"


@dataclasses.dataclass(frozen=True)
class Files:
    """What was written.

    Attributes:
        document: the comparison as JSON.
        html: the page; ``None`` when nothing was measured.
    """

    document: Path
    html: Path | None


def write_result(record: CompareRecord, folder: Path, *, command: str) -> Files:
    """Write ``compare.json`` and ``report.html``.

    Args:
        record: what was found.
        folder: of the comparison, whose records the page draws.
        command: what was typed, for the document.
    """
    head = {"schema": SCHEMA, "samedge_version": __version__, "created": created_now()}
    head["command"] = command
    content = msgspec.json.encode({**head, **msgspec.to_builtins(record)})
    document = folder / "compare.json"
    write_bytes(document, msgspec.json.format(content, indent=1) + b"\n")
    kinds = (f"bench-{JOINED}.json", "eval-*.json", "export-*.json")
    drawn = [path for kind in kinds for path in sorted((folder / "records").glob(kind))]
    if not any(path.name.startswith("bench-") for path in drawn):
        return Files(document, None)
    answer = Answer(
        recommendation=record.recommendation, rows=record.rows, baseline=record.baseline
    )
    page = folder / "report.html"
    write_text(page, html_page(load_overview(drawn), answer=answer))
    return Files(document, page)
