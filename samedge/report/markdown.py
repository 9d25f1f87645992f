"""The report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from samedge.files.lines import one_line
from samedge.report import facts, text
from samedge.report.overview import Overview

_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def markdown(overview: Overview) -> str:
    """Summary, comparisons, verdicts, warnings, machines and commands."""
    header = text.summary_header(overview)
    rows = [text.summary_row(overview, reported) for reported in overview.subjects]
    parts = ["# samedge report", _table(header, rows)]
    makers = (text.deadline_table, *text.RECORD_TABLES, text.plan_table)
    extra = [table for table in (make(overview) for make in makers) if table]
    for table in (*text.comparison_tables(overview), *extra):
        parts += [
            f"## {_inert(table.title)}",
            _inert(table.caption),
            _table(table.header, table.rows),
        ]
    if facts.warnings(overview):
        parts.append(
            "## Warnings\n\n" + "\n".join(f"- {_inert(line)}" for line in facts.warnings(overview))
        )
    for name, known in facts.machine_facts(overview):
        parts.append(f"## {_inert(name)}\n\n" + _table(["", ""], known))
    if facts.commands(overview):
        lines = [f"# {one_line(s)}\n{one_line(command)}" for s, command in facts.commands(overview)]
        parts.append("## Commands\n\n" + _fenced("\n".join(lines)))
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([_inert(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _fenced(lines: str) -> str:
    """A block of code; its fence is longer than any in the text."""
    fence = max(("``", *re.findall("`{3,}", lines)), key=len) + "`"
    return f"{fence}\n{lines}\n{fence}"


def _inert(cell: str) -> str:
    """A cell whose text is no tag of HTML, which Markdown would let through."""
    return _TAG.sub("&lt;", one_line(cell))
