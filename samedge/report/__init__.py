"""Records of evaluations, benchmarks and exports as one page, one Markdown text or one table.

The HTML page is a single file without scripts and without network: it opens from a mail attachment,
in light and dark, on a desk and on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from samedge.errors import BackendUnavailableError, DatasetError
from samedge.files.short_names import short_names
from samedge.machine.libraries import keep_fonts_in_cache
from samedge.records import Record, read
from samedge.report.decision import Answer
from samedge.report.overview import Overview, compare_records

__all__ = ["Overview", "html_page", "load_overview", "markdown_text", "tidy_csv"]


def load_overview(paths: Sequence[Path]) -> Overview:
    """Read records and join what belongs together.

    Args:
        paths: files that `samedge eval`, `bench` or `export` wrote.

    Raises:
        DatasetError: no path, or a file that is no record.
    """
    if not paths:
        raise DatasetError("There is no record: give what `samedge eval -o` or `bench -o` wrote.")
    names = short_names(paths)
    records: list[tuple[str, Record]] = [(names[path], read(path)) for path in names]
    return compare_records(records)


def html_page(overview: Overview, *, photos: bool = True, answer: Answer | None = None) -> str:
    """The self-contained page.

    Args:
        overview: from ``load_overview``.
        answer: what to say first; ``None`` finds it in the records.
        photos: show the masks on the evaluated photographs, as far as they are at hand; without
            them, on grey. Mind their licence before the page is passed on.

    Raises:
        BackendUnavailableError: matplotlib or jinja2 is not installed.
    """
    keep_fonts_in_cache()
    try:
        from samedge.report.page import render
    except ImportError as error:
        raise BackendUnavailableError(
            f'{error.name}, which draws the report, is not installed: pip install "samedge[report]"'
        ) from error
    return render(overview, photos=photos, answer=answer)


def markdown_text(overview: Overview) -> str:
    """The summary, the comparisons and the machines as GitHub-flavoured Markdown."""
    from samedge.report.markdown import markdown

    return markdown(overview)


def tidy_csv(overview: Overview) -> str:
    """Every figure on a line of its own: subject, what was measured, metric, value."""
    from samedge.report.tidy_lines import tidy

    return tidy(overview)
