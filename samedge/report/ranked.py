"""The table under a report's first sentence: the subjects by speed, equal ones called equal."""

from __future__ import annotations

from samedge.report.decision import Answer, Row
from samedge.report.overview import Overview
from samedge.report.text import Table, export_name, latency, megabytes


def ranked_table(answer: Answer) -> Table:
    """The subjects, the fastest first, each with what may be said of it against the baseline."""
    header = ["subject", "p50 ms", "speed", "masks", "peak MB", "files MB", "verdict here"]
    rows = [
        [
            row.name,
            latency(row.p50_ms),
            _speed(row, answer.baseline),
            _masks(row),
            megabytes(row.peak_rss_bytes),
            megabytes(row.artifact_bytes),
            _standing(row, answer),
        ]
        for row in answer.rows
    ]
    caption = (
        f"Speed and masks are against {answer.baseline}, with 95% intervals from blocks that ran "
        "in turns. What an interval cannot tell apart is called equal."
    )
    return Table("Which one to ship", caption, header, rows)


def _speed(row: Row, baseline: str | None) -> str:
    if row.name == baseline:
        return "baseline"
    if row.speedup is None:
        return "–"
    value, low, high = row.speedup
    return f"{value:.2f}x ({low:.2f} to {high:.2f})"


def _masks(row: Row) -> str:
    """Every kind of prompt: what is lost, or how far the masks agree."""
    parts = []
    for loss in row.losses:
        value = 1 - loss.value if loss.agreement else loss.value
        verb = "agree" if loss.agreement else "lose"
        ends = ", not distinguishable from 0" if loss.is_indistinct and not loss.agreement else ""
        parts.append(f"{verb} {value:.4f} {loss.measure}{ends}")
    return "; ".join(parts) or "–"


def _standing(row: Row, answer: Answer) -> str:
    recommended = answer.recommendation
    if row.name == recommended.chosen:
        return "ship this"
    if row.name in recommended.equals:
        return "equally fast"
    if row.name == recommended.nearest:
        return "nearest to the limits"
    return row.note


def unmeasured(overview: Overview) -> list[str]:
    """Exports that no benchmark and no evaluation of this report measured."""
    known = {reported.subject.bundle_id for reported in overview.subjects}
    return [export_name(r) for _, r in overview.exports if r.bundle.id not in known]
