"""``samedge compare``: exports and measures what runs here, and says which bundle to ship."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.measure_types import DURATION
from samedge.cli.refusing import refuse_output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.comparison.run import CompareRecord
    from samedge.report.decision import Row

EPILOG = """\b
Examples:
  samedge compare
  samedge compare my-photos/ --minutes 20 --deadline 50
  samedge compare --model mobile-sam --target cpu --target intel --memory 400
  samedge compare --dataset instances.json --images photos/ --max-drop 0.01 -o out/compare
"""

DEFAULT_MODEL = "samedge-nano"


@click.command("compare", epilog=EPILOG)
@click.argument("photos", nargs=-1, type=click.Path(path_type=Path), metavar="[PHOTOS]...")
@click.option(
    "--model",
    metavar="M",
    default=DEFAULT_MODEL,
    show_default=True,
    help="Model, one of those that `models` lists, or a checkpoint's file.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="T",
    help="Platform to export for; again for more. [default: all that run here]",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    metavar="P",
    help="Precision to export in; again for more. [default: all that each platform runs]",
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A bundle from elsewhere, or an embedded model, to measure beside the others; again for "
    "more.",
)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="Ground truth in COCO's instances format: accuracy instead of agreement with fp32.",
)
@click.option(
    "--images", type=click.Path(path_type=Path), metavar="DIR", help="Folder of its images."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Photos that INT8 is calibrated on. [default: samedge's own]",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.1),
    metavar="MINUTES",
    help="Time budget; what was not reached is said. [default: none]",
)
@click.option(
    "--deadline",
    type=DURATION,
    metavar="MS",
    help="What 99% of the frames have to meet: 50, 50ms or 20fps.",
)
@click.option(
    "--memory",
    type=click.FloatRange(min=1.0),
    metavar="MB",
    help="Most resident memory of the process, in MB (1,000,000 bytes).",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0.0, 1.0),
    metavar="IOU",
    help="Mean IoU that the masks may lose against fp32.",
)
@click.option(
    "-o",
    "--output",
    "output_path",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of bundles, records and report; what is finished there is kept. [default: "
    "out/compare]",
)
@output.standard_options
def compare(
    out: output.Output,
    *,
    photos: tuple[Path, ...],
    model: str,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    bundles: tuple[Path, ...],
    dataset: Path | None,
    images: Path | None,
    calibration: Path | None,
    minutes: float | None,
    deadline: float | None,
    memory: float | None,
    max_drop: float | None,
    output_path: Path | None,
) -> None:
    """Export everything that runs here, measure it side by side, and say which bundle to ship.

    Accuracy is measured on a dataset when one is given, and as agreement with fp32's masks on the
    photos otherwise. All bundles are benched in turns. An interrupted comparison goes on where it
    was when the same command is run again.
    """
    import msgspec

    from samedge.comparison.named import DEFAULT_FOLDER
    from samedge.comparison.named import compare as compare_named

    if (dataset is None) != (images is None):
        raise click.UsageError("--dataset and --images belong together: give both or neither.")
    output_path = output_path or DEFAULT_FOLDER
    refuse_output(output_path, is_folder=True)
    with out.progress("Comparing") as bar:
        found = compare_named(
            photos,
            model=model,
            targets=targets,
            precisions=precisions,
            bundles=bundles,
            dataset=dataset,
            images=images,
            calibration=calibration,
            minutes=minutes,
            deadline_ms=deadline,
            memory_mb=memory,
            max_drop=max_drop,
            output=output_path,
            command=output.command_line(),
            progress=bar.progress,
            stage=bar.stage,
        )
    record = found.record
    report = [] if found.files.html is None else [f"report: {found.files.html}"]
    lines = [*_remarks(record), *report, "", record.recommendation.sentence]
    out.result(msgspec.to_builtins(record), _table(record), *lines)
    if record.baseline is None:  # not one of them could be measured: the rows say why
        out.exit_code = 1


def _table(record: CompareRecord) -> Table:
    table = output.table("Bundle", "p50 ms", "Speed", "Masks", "Memory MB", "Files MB", "")
    for row in record.rows:
        mark = _mark(record, row)
        table.add_row(
            row.name,
            "-" if row.p50_ms is None else f"{row.p50_ms:.1f}",
            _speed(row, record.baseline),
            _masks(row),
            _megabytes(row.peak_rss_bytes),
            _megabytes(row.artifact_bytes),
            mark,
        )
    return table


def _mark(record: CompareRecord, row: Row) -> str:
    answer = record.recommendation
    if row.name == answer.chosen:
        return "ship this"
    if row.name in answer.equals:
        return "as fast"
    if row.name == answer.nearest:
        return "nearest"
    return row.note.partition(":")[0]


def _speed(row: Row, baseline: str | None) -> str:
    if row.name == baseline:
        return "baseline"
    if row.speedup is None:
        return "-"
    value, low, high = row.speedup
    return f"{value:.2f}x ({low:.2f} to {high:.2f})"


def _masks(row: Row) -> str:
    """The first kind of prompt: what is lost, or how far the masks agree."""
    if not row.losses:
        return "-"
    loss = row.losses[0]
    if loss.agreement:
        return f"agree {1 - loss.value:.3f}"
    ends = "" if loss.low is None else f" ({loss.low:.4f} to {loss.high:.4f})"
    return f"lose {loss.value:.4f}{ends}"


def _megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.1f}"


def _remarks(record: CompareRecord) -> list[str]:
    lines = [f"masks compared on {record.measured_on}"]
    lines += [f"not measured: {row.name}: {row.note}" for row in record.rows if row.note]
    lines += [f"not here: {name}: {why}" for name, why in record.left_out.items()]
    return lines + [f"warning: {text}" for text in record.warnings]


COMMAND = compare
