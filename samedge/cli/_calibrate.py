"""``samedge calibrate``: what INT8 costs each part of a model, and the precision plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.refusing import refuse_output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.calibration.search import Mix, Search

EPILOG = """\b
Examples:
  samedge export --target intel --precision fp32 -o out/fp32
  samedge calibrate out/fp32 --calibration my-photos/ -o plan.json
  samedge export --target intel --precision int8 --plan plan.json --calibration my-photos/
"""


@click.command("calibrate", epilog=EPILOG)
@click.argument("named", metavar="BUNDLE")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Photos like those that the device will see. [default: samedge's own four]",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0.0, 1.0),
    default=0.005,
    show_default=True,
    metavar="IOU",
    help="Mean mask IoU that may be lost against fp32 with boxes; twice that with clicks.",
)
@click.option(
    "--images",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="Images that each part is measured on.",
)
@click.option(
    "--gate-seconds",
    type=click.FloatRange(0.0),
    default=60.0,
    show_default=True,
    metavar="S",
    help="How long the accuracy of one mix of parts is measured at most.",
)
@click.option(
    "-o",
    "--output",
    "output_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="JSON",
    help="File for the plan, which `export --plan` takes.",
)
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="SVG",
    help="File for the plot of what every part loses and gains.",
)
@output.standard_options
def calibrate(
    out: output.Output,
    *,
    named: str,
    calibration: Path | None,
    max_drop: float,
    images: int,
    gate_seconds: float,
    output_path: Path | None,
    plot_path: Path | None,
) -> None:
    """Quantize each part of an fp32 bundle alone, measure its masks, and find a precision plan.

    An interrupted search goes on where it stopped: what was measured stays in the cache.
    """
    import msgspec

    from samedge.bundle.bundle import Bundle, bundle_path
    from samedge.calibration.plot import check_plot, save_plot
    from samedge.calibration.search import find_plan
    from samedge.proof.photos import load_calibration

    refuse_output(output_path)
    refuse_output(plot_path)
    check_plot(plot_path)
    path = bundle_path(named)
    bundle = Bundle.open(path)
    data = load_calibration(calibration)
    with out.progress("Calibrating") as bar:
        search = find_plan(
            bundle,
            data,
            max_drop=max_drop,
            max_images=images,
            seconds=gate_seconds,
            progress=bar.progress,
            stage=bar.stage,
        )
    if output_path is not None:
        search.plan.save(output_path)
        out.note(f"wrote {output_path}")
    if plot_path is not None:
        save_plot(search, plot_path)
        out.note(f"wrote {plot_path}")
    document = {
        "bundle": {"path": str(path), "id": bundle.id},
        "images": len(data.images),
        "skipped_files": data.skipped,
    }
    tables = _table(search), "", _mixes(search.mixes), _footer(search)
    out.result({**document, **msgspec.to_builtins(search)}, *tables)


def _table(search: Search) -> Table:
    kinds = list(search.drops[0].drops) if search.drops else []
    heads = [f"Drop, {kind}" for kind in kinds]
    table = output.table("Part", "Graph", *heads, "IoU with fp32", "Latency", "Precision", "Why")
    for found in search.drops:
        row = next(row for row in search.plan.modules if row.module == found.group)
        drops = (f"{found.drops[kind]:+.4f}" for kind in kinds)
        ratio = "" if found.latency_ratio is None else f"{found.latency_ratio:.2f}"
        figures = *drops, f"{found.mask_iou:.4f}", ratio
        table.add_row(found.group, found.role, *figures, row.precision, row.reason)
    return table


def _mixes(mixes: list[Mix]) -> Table:
    table = output.table("Parts in INT8", "Drop", "Latency, of float", "Verdict")
    for mix in mixes:
        ratio = "" if mix.float_ratio is None else f"{mix.float_ratio:.2f}"
        table.add_row(str(len(mix.groups)), f"{mix.accuracy.drop:+.4f}", ratio, mix.verdict)
    return table


def _footer(search: Search) -> str:
    accuracy = search.accuracy
    if accuracy.total_ratio is None:
        return f"together: {accuracy.drop:+.4f} mean IoU; latency: the platform is not here"
    slower = "" if accuracy.total_ratio < 1.0 else "; slower than fp32 here: keep fp32"
    return (
        f"together: {accuracy.drop:+.4f} mean IoU, {accuracy.total_ratio:.2f} of fp32's latency, "
        f"{accuracy.size_ratio:.2f} of its size{slower}"
    )


COMMAND = calibrate
