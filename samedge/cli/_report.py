"""``samedge report``: one page that compares devices, backends and bundles."""

from __future__ import annotations

from pathlib import Path

import click

from samedge.cli import output
from samedge.cli.refusing import refuse_output

EPILOG = """\b
Examples:
  samedge report accuracy.json latency.json --html report.html
  samedge report laptop/*.json jetson/*.json --html report.html --csv figures.csv
  samedge report accuracy.json --html report.html --no-photos
"""


@click.command("report", epilog=EPILOG)
@click.argument(
    "records",
    nargs=-1,
    required=True,
    metavar="RECORD.json...",
    type=click.Path(path_type=Path),
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The page, with plots and pictures.",
)
@click.option(
    "--markdown",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The same in Markdown, for a README or an issue.",
)
@click.option(
    "--csv",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="One row a figure, for a spreadsheet.",
)
@click.option("--no-photos", is_flag=True, help="Draw the masks on grey, not on the photographs.")
@output.standard_options
def report(
    out: output.Output,
    *,
    records: tuple[Path, ...],
    html: Path | None,
    markdown: Path | None,
    csv: Path | None,
    no_photos: bool,
) -> None:
    """Write one self-contained page from what eval, bench and export recorded.

    The page needs no network and no script. Photographs that the accuracy was measured on are shown
    where they are at hand; mind their licence, or leave them out with --no-photos.
    """
    from samedge.report import html_page, load_overview, markdown_text, tidy_csv

    if not (html or markdown or csv):
        raise click.UsageError("Say what to write: give --html, --markdown or --csv.")
    for path in (html, markdown, csv):
        refuse_output(path)
    overview = load_overview(records)
    written = {}
    if html is not None:
        written["html"] = _write(html, html_page(overview, photos=not no_photos))
    if markdown is not None:
        written["markdown"] = _write(markdown, markdown_text(overview))
    if csv is not None:
        written["csv"] = _write(csv, tidy_csv(overview))
    document = {"records": list(records), "subjects": len(overview.subjects), "files": written}
    out.result(document, *(f"wrote {path}" for path in written.values()))


def _write(path: Path, text: str) -> Path:
    from samedge.files.writing import write_text

    return write_text(path, text)


COMMAND = report
