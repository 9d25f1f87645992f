"""A report's figures as one table for other programs: a line each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from samedge.records import Subject
from samedge.report.overview import Overview

SUBJECT_COLUMNS = (
    *("bundle", "bundle_id", "model", "target", "precision", "input_size", "backend", "device"),
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def tidy(overview: Overview) -> str:
    """One line a figure; empty cells where a column does not apply."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["source", "machine", *SUBJECT_COLUMNS, "kind", "name", "metric", "value"])
    for source, record in overview.evaluations:
        for row in record.results:
            writer.writerows(_lines(row, (source, ""), ("accuracy", row.prompt)))
        for video in record.video:
            kind = ("video", f"{video.strategy}, {video.prompt}")
            writer.writerows(_lines(video, (source, ""), kind))
        for found in record.everything:
            writer.writerows(_lines(found, (source, ""), ("everything", "everything")))
        for words in record.words:
            kind = ("words", f"{words.regions} named by {words.words_by}")
            writer.writerows(_lines(words, (source, ""), kind))
    for source, bench in overview.benches:
        where = (source, overview.machine_of(source) or "")
        for stage in bench.results:
            writer.writerows(_lines(stage, where, ("latency", stage.stage)))
        for rate in bench.prompt_rate:
            kind = ("prompt_rate", str(rate.prompts_per_frame))
            writer.writerows(_lines(rate, where, kind))
        for long in bench.sustained:
            writer.writerows(_lines(long, where, ("sustained", f"{long.seconds:g} s")))
        for played in bench.stream:
            writer.writerows(_lines(played, where, ("stream", played.source)))
        for page in bench.pages:
            writer.writerows(_lines(page, where, ("page", page.browser)))
    return stream.getvalue()


def _lines(row: Subject, where: tuple[str, str], kind: tuple[str, str]) -> Iterator[list[object]]:
    """A line for each numeric field of a row that is no part of its identity."""
    names = [*where, *(getattr(row, column) for column in SUBJECT_COLUMNS), *kind]
    head = [_inert(name) for name in names]
    for field in row.__struct_fields__:
        value = getattr(row, field)
        if field in Subject.__struct_fields__:
            continue
        if isinstance(value, tuple):
            yield [*head, f"{field}_low", value[0]]
            yield [*head, f"{field}_high", value[1]]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield [*head, field, value]


def _inert(name: object) -> object:
    """A text that no spreadsheet takes for a formula: OWASP's "CSV injection"."""
    return f"'{name}" if isinstance(name, str) and name.startswith(_FORMULA) else name
