"""``samedge doctor``: which backends and devices work here, and how to get the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.refusing import refuse_output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.inspection.doctor import BackendReport

EPILOG = """\b
Examples:
  samedge doctor
  samedge doctor --backend openvino
  samedge doctor --bundle-report fault.zip --bundle out/intel
  samedge doctor --json | jq '.backends[] | select(.available) | .name'
"""


@click.command("doctor", epilog=EPILOG)
@click.option(
    "--backend", "backends", multiple=True, metavar="B", help="Look at this backend only. Repeats."
)
@click.option(
    "--bundle-report",
    "report",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what a report of a fault needs into one zip.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The bundle that fails; its manifest goes into the report.",
)
@output.standard_options
def doctor(
    out: output.Output, *, backends: tuple[str, ...], report: Path | None, bundle: Path | None
) -> None:
    """Look for every backend and device, run a real small graph on each, and warn of what is known.

    The warnings are combinations of versions and devices that are known to go wrong. Backends that
    only check files stand in the table with -v, and in the JSON always.

    The report's zip holds the same, versions, the environment, a bundle's manifest and the log of
    the last command that was run with --debug; no photos, homes, names or secrets.

    Exit code 0 says that the report is complete, not that every backend is here.
    """
    from samedge.inspection.doctor import examine, known_problems
    from samedge.machine import jetson

    if bundle is not None and report is None:
        raise click.UsageError("--bundle needs --bundle-report FILE, the zip that it goes into.")
    refuse_output(report)
    out.note("Running a small graph on every backend ...")
    reports = examine(backends or None)
    shown = reports if backends or out.verbosity > 0 else _of_users(reports)
    missing = [report for report in shown if not report.available or _failures(report)]
    state = jetson.jetson_state()
    board = [] if state is None else _indented(jetson.lines(state))
    problems = known_problems(reports)
    document = {"backends": reports, "warnings": problems, "jetson": state}
    remedies = [line for report in missing for line in _remedy(report)]
    warned = [
        line
        for found in problems
        for line in _indented([f"warning: {found.message}", f"fix: {found.fix}"])
    ]
    if report is not None:
        from samedge.inspection.bug_report import write_bug_report

        names = write_bug_report(report, doctor=document, bundle=bundle)
        out.note(f"wrote {report}: {', '.join(names)}")
    out.result(document, _table(shown), *board, *remedies, *warned)


def _of_users(reports: list[BackendReport]) -> list[BackendReport]:
    from samedge import runtimes

    return [report for report in reports if not runtimes.get(report.name).is_for_checks]


def _table(reports: list[BackendReport]) -> Table:
    columns = ("Backend", "Version", "Devices", "Self-test")
    table = output.table(*columns)
    for report in reports:
        table.add_row(
            report.name, report.version or "-", ", ".join(report.devices) or "-", _verdict(report)
        )
    return table


def _failures(report: BackendReport) -> list[str]:
    return [f"{test.device}: {test.error}" for test in report.selftests if not test.ok]


def _verdict(report: BackendReport) -> str:
    if not report.available:
        return "not available"
    if not report.selftests:
        return "none for its format"
    times = [f"{test.ms:.2f} ms" for test in report.selftests if test.ok and test.ms is not None]
    return "FAILED" if _failures(report) else "ok, " + ", ".join(times)


def _remedy(report: BackendReport) -> list[str]:
    lines = [f"{report.name}: {report.detail}", *_failures(report)]
    if report.fix:
        lines.append(f"fix: {report.fix}")
    return _indented(lines)


def _indented(lines: Sequence[str]) -> list[str]:
    """The first line, and the others below it."""
    return [*lines[:1], *(f"    {line}" for line in lines[1:])]


COMMAND = doctor
