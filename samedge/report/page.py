"""Renders the page: jinja2 template, style sheet, figures and pictures in one file."""

from __future__ import annotations

import datetime
from pathlib import Path

import jinja2

from samedge._version import __version__
from samedge.report import text
from samedge.report.examples import example_rows
from samedge.report.figures import figures
from samedge.report.overview import Overview

_FOLDER = Path(__file__).parent


def render(overview: Overview, *, photos: bool) -> str:
    """The page as HTML text; see ``samedge.report.html_page``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    deadlines = text.deadline_table(overview)
    exports = (text.export_table(overview), text.choices_table(overview))
    now = datetime.datetime.now(datetime.timezone.utc)
    return environment.get_template("page.html.j2").render(
        style=(_FOLDER / "style.css").read_text(encoding="utf-8"),
        version=__version__,
        created=now.strftime("%Y-%m-%d %H:%M UTC"),
        headline=headline(overview),
        header=text.summary_header(overview),
        rows=[text.summary_row(overview, entry) for entry in overview.entries],
        datasets=[record.dataset for _, record in overview.evaluations],
        tables=[*text.comparison_tables(overview), *([deadlines] if deadlines else [])],
        warnings=text.warnings(overview),
        figures=figures(overview),
        examples=example_rows(overview, photos=photos),
        exports=[table for table in exports if table],
        plan=text.plan_table(overview),
        machines=text.machine_facts(overview),
        commands=text.commands(overview),
    )


def headline(overview: Overview) -> list[tuple[str, str, str]]:
    """The figures that a reader looks for first: ``(what, value, whose)``."""
    found = []
    timed = [(entry.p50("end_to_end"), entry.label) for entry in overview.entries]
    fastest = min(((ms, name) for ms, name in timed if ms is not None), default=None)
    if fastest:
        found.append(("lowest end to end p50", f"{text.latency(fastest[0])} ms", fastest[1]))
    for prompt in overview.prompts[:2]:
        scored = [(entry.miou(prompt), entry.name) for entry in overview.entries]
        best = max(((iou, name) for iou, name in scored if iou is not None), default=None)
        if best:
            found.append((f"highest {prompt} mIoU", f"{best[0]:.3f}", best[1]))
    whole = [(e.stages.get("end_to_end"), e.label) for e in overview.entries]
    sizes = [(row.peak_rss_bytes, name) for row, name in whole if row and row.peak_rss_bytes]
    if sizes:
        least = min(sizes)
        found.append(("least peak memory", f"{text.megabytes(least[0])} MB", least[1]))
    return found
