"""``samedge inspect``: the manifest of a bundle, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.bundle.bundle import Bundle
    from samedge.bundle.manifest import GraphRecord, Manifest
    from samedge.inspection.ane import AneReport
    from samedge.pixels.frames import Frame

EPILOG = """\b
Examples:
  samedge inspect out/intel
  samedge inspect nano.samedge --json | jq .bundle.parity
"""


@click.command("inspect", epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@output.standard_options
def inspect(out: output.Output, *, bundle: Path) -> None:
    """Show what BUNDLE holds: model, licence, target, graphs, sizes, and what was measured.

    BUNDLE is a folder, a `.samedge` file or the name of an embedded model.
    Reads the manifest only, and of Core ML graphs what would leave the Neural Engine or pad there;
    `samedge verify` checks hashes and results.
    """
    from samedge.bundle.bundle import Bundle, bundle_path

    bundle = bundle_path(str(bundle))
    opened = Bundle.open(bundle, verify=False)
    manifest = opened.manifest
    reports = _neural_engine(opened)
    document: dict[str, object] = {"path": str(bundle), "bundle": manifest}
    if reports:
        from samedge.inspection.ane import summary

        document["neural_engine"] = {role: summary(report) for role, report in reports.items()}
    tables = [*_plan(manifest), *_lint_tables(reports)]
    out.result(document, _summary(opened), "", _graphs(opened), *tables)


def _summary(opened: Bundle) -> Table:
    manifest = opened.manifest
    rows = {
        "id": manifest.id,
        "model": f"{manifest.model.name} ({manifest.model.encoder or 'encoder not recorded'})",
        "licence": manifest.model.licence,
        "origin": manifest.model.origin,
        "target": manifest.target,
        "runs on": f"backend {manifest.backend}, device {manifest.device or 'the best one there'}",
        "precision": manifest.precision,
        "input": _frame(manifest.frame),
        "prompts": f"{', '.join(manifest.prompts)}; {_buckets(manifest)}",
        **_words(opened),
        "parity": _parity(manifest),
        **_measured(manifest),
        "gate": manifest.gate,
        "made": f"{manifest.created} by samedge {manifest.samedge_version}",
        "with": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }
    table = output.table()
    table.show_header = False
    for name, value in rows.items():
        table.add_row(name, value)
    for note in manifest.notes:
        table.add_row("note", note)
    return table


def _words(opened: Bundle) -> dict[str, str]:
    """The words that it answers, and those that are off; nothing where it knows none."""
    from samedge.bundle.words import read_table

    words, table = opened.manifest.own_words, read_table(opened)
    if words is None or table is None:
        return {}
    things = [word for word in table.words if word.is_askable]
    known = ", ".join(word.name for word in things if word.off is None)
    off = ", ".join(word.name for word in things if word.off is not None)
    source = f"{words.model.name}, licence {words.model.licence}, from {words.model.origin}"
    return {"words by": source, "words": known, **({"words off": off} if off else {})}


def _frame(frame: Frame) -> str:
    side = frame.target_length
    red, green, blue = frame.pad_value
    words = {
        "longest_side_bilinear": "longest side resized, padded right and below with "
        f"({red}, {green}, {blue})",
        "square_bilinear": "both sides resized",
    }
    return f"{side} x {side} px {frame.color}, {words[frame.resize]}, {frame.rule} preprocessing"


def _buckets(manifest: Manifest) -> str:
    if not manifest.prompt_buckets:
        return "any number of prompts and points"
    shapes = ", ".join(f"{batch} x {points}" for batch, points in manifest.prompt_buckets)
    return f"fixed shapes, prompts x points: {shapes}"


def _parity(manifest: Manifest) -> str:
    parity = manifest.parity
    if parity is None:
        return "not measured"
    return (
        f"mask IoU {parity.mask_iou_mean:.4f} (5th percentile {parity.mask_iou_p05:.4f}), "
        f"embedding cosine {parity.embedding_cosine_min:.5f}, "
        f"{parity.images} images, {parity.prompts} prompts"
    )


def _measured(manifest: Manifest) -> dict[str, str]:
    """What the export measured, which the manifest takes in any form."""
    try:
        return {"accuracy": _accuracy(manifest), **_tried(manifest)}
    except (AttributeError, KeyError, TypeError, ValueError):  # another program's bundle
        return {"accuracy": "in a form that this samedge does not know; --json shows it"}


def _accuracy(manifest: Manifest) -> str:
    """What was lost and gained against fp32."""
    found = manifest.accuracy or {}
    if "rows" not in found:
        return "not measured"
    drops = ", ".join(
        f"{row['prompt']} {row['miou']:.4f} (fp32 {row['miou_fp32']:.4f})" for row in found["rows"]
    )
    parts = ((stage, found.get(f"{stage}_ratio")) for stage in ("encode", "decode", "size"))
    ratios = ", ".join(f"{stage} {ratio:.2f}" for stage, ratio in parts if ratio is not None)
    return f"mIoU {drops}; against fp32: {ratios}; truth: {found['truth']} of {found['images']}"


def _tried(manifest: Manifest) -> dict[str, str]:
    """The precisions that ``auto`` chose from; nothing where the precision was named."""
    choices = (manifest.accuracy or {}).get("choices", [])
    text = "; ".join(f"{choice['precision']}: {choice['verdict']}" for choice in choices)
    return {"auto": text} if choices else {}


def _graphs(bundle: Bundle) -> Table:
    table = output.table("Graph", "File", "Format", "Precision", "MB", "Takes", "Gives", "SHA-256")
    for graph in bundle.manifest.graphs:
        files = bundle.artifact(graph.role)
        table.add_row(
            graph.role,
            files.path,
            graph.format,
            graph.precision,
            f"{files.bytes / 1e6:.2f}",
            ", ".join(tensor.name for tensor in graph.inputs),
            ", ".join(tensor.name for tensor in graph.outputs),
            files.sha256[:12],
        )
    return table


def _plan(manifest: Manifest) -> list[Table | str]:
    """The precision plan, whose rows all have the same columns; nothing when there is none."""
    if not manifest.plan:
        return []
    columns = list(manifest.plan[0])
    table = output.table(*columns)
    for row in manifest.plan:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    return ["", table]


def _neural_engine(bundle: Bundle) -> dict[str, AneReport]:
    """The lint of each Core ML graph, by role; nothing where their files cannot be read."""
    from samedge.errors import BackendUnavailableError
    from samedge.inspection.ane import lint_package

    graphs = [graph for graph in bundle.manifest.graphs if graph.format == "coreml"]
    try:
        return {
            graph.role: lint_package(bundle.artifact_path(graph.role), function=_function(graph))
            for graph in graphs
        }
    except BackendUnavailableError:
        return {}


def _function(graph: GraphRecord) -> str | None:
    """The function of a package that holds several graphs."""
    name = graph.options.get("function")
    return None if name is None else str(name)


def _lint_tables(reports: dict[str, AneReport]) -> list[Table | str]:
    """What would leave the Neural Engine or waste it; one row a rule and graph."""
    if not reports:
        return []
    shapes = output.table("Neural Engine", "Operations", "Errors", "On the CPU", "Layout", "Writes")
    rules = output.table("Graph", "Rule", "Times", "Worst", "Of the work", "Because")
    for role, report in reports.items():
        shapes.add_row(
            role,
            str(report.operations),
            str(len(report.errors)),
            str(report.host_operations),
            f"{report.layout_operations / max(report.operations, 1):.0%} of operations",
            f"{report.layout_traffic:.0%} by layout",
        )
        for rule, times in report.by_rule().items():
            found = [f for f in report.findings if f.rule == rule]
            share = f"{sum(f.share for f in found):.1%}"
            rules.add_row(role, rule, str(times), found[0].severity, share, found[0].reason)
    return ["", shapes, "", rules]


COMMAND = inspect
