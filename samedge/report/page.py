"""Renders the page: jinja2 template, style sheet, figures and pictures in one file."""

from __future__ import annotations

import datetime
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from samedge._version import __version__
from samedge.report import facts, text
from samedge.report.answers import answers
from samedge.report.decision import Answer
from samedge.report.examples import example_rows
from samedge.report.figures import figures
from samedge.report.overview import Overview, dataset_key, dataset_name
from samedge.report.ranked import ranked_table, unmeasured

_FOLDER = Path(__file__).parent


def render(overview: Overview, *, photos: bool, answer: Answer | None) -> str:
    """The page as HTML text; see ``samedge.report.html_page``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code_spans
    deadlines = text.deadline_table(overview)
    tables = [make(overview) for make in text.RECORD_TABLES]
    now = datetime.datetime.now(datetime.timezone.utc)
    return environment.get_template("page.html.j2").render(
        style=(_FOLDER / "style.css").read_text(encoding="utf-8"),
        version=__version__,
        created=now.strftime("%Y-%m-%d %H:%M UTC"),
        answers=[
            (found, ranked_table(found)) for found in ([answer] if answer else answers(overview))
        ],
        unmeasured=unmeasured(overview),
        header=text.summary_header(overview),
        rows=[text.summary_row(overview, reported) for reported in overview.subjects],
        datasets={
            dataset_key(record.dataset): (dataset_name(record.dataset), record.dataset)
            for _, record in overview.evaluations
        }.values(),
        tables=[*text.comparison_tables(overview), *([deadlines] if deadlines else [])],
        warnings=facts.warnings(overview),
        figures=figures(overview),
        examples=example_rows(overview, photos=photos),
        photos_shown=photos,
        exports=[table for table in tables if table],
        plan=text.plan_table(overview),
        machines=facts.machine_facts(overview),
        commands=facts.commands(overview),
    )


def _code_spans(sentence: str) -> Markup:
    """What stands between backticks as HTML's ``code``, all else escaped."""
    parts = [escape(part) for part in sentence.split("`")]
    marked = (Markup("<code>%s</code>") % part if i % 2 else part for i, part in enumerate(parts))
    return Markup("").join(marked)
