"""``samedge build``: TensorRT engines of a bundle, for this GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.runtimes.tensorrt.bundles import BundleEngines

EPILOG = """\b
Examples:
  samedge build out/jetson
  samedge build out/jetson --parse-only --flavour tensorrt-rtx
  samedge build out/jetson --flavour tensorrt-rtx --capability 8.6
"""


@click.command("build", epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--flavour",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="tensorrt, tensorrt-rtx, or auto: the first that is installed.",
)
@click.option(
    "--gpu",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Number of the GPU to build for.",
)
@click.option(
    "--capability",
    metavar="C",
    help="Compile for a compute capability such as 8.6 instead, without a GPU (tensorrt-rtx).",
)
@click.option(
    "--workspace",
    type=click.IntRange(1),
    metavar="MB",
    help="Scratch memory that kernels may ask for. [default: half of what is free]",
)
@click.option("--parse-only", is_flag=True, help="Only ask the parser whether it takes every node.")
@output.standard_options
def build(
    out: output.Output,
    *,
    bundle: Path,
    flavour: str,
    gpu: int,
    capability: str | None,
    workspace: int | None,
    parse_only: bool,
) -> None:
    """Build the TensorRT engines of BUNDLE and keep them beside its ONNX files.

    Opening the bundle does the same the first time; this does it when you choose to wait. An engine
    is used only with the very graph, TensorRT version and GPU that it was built for.
    """
    from samedge.bundle.bundle import Bundle, bundle_path
    from samedge.runtimes.tensorrt.bundles import build_bundle, parse_bundle

    if parse_only and not (capability is None and workspace is None):
        raise click.UsageError(
            "--parse-only builds nothing, and so has no use for --capability and --workspace."
        )
    opened = Bundle.open(bundle_path(str(bundle)))
    with out.progress("Parsing" if parse_only else "Building") as bar:
        if parse_only:
            result = parse_bundle(opened, flavour=flavour, progress=bar.progress, stage=bar.stage)
        else:
            result = build_bundle(
                opened,
                flavour=flavour,
                device=gpu,
                capability=capability,
                workspace_bytes=None if workspace is None else workspace * 10**6,
                progress=bar.progress,
                stage=bar.stage,
            )
    document = {"bundle": {"path": str(bundle), "id": opened.id}, "result": result}
    out.result(document, _table(result), _footer(result))


def _table(result: BundleEngines) -> Table:
    table = output.table("Graph", "Engine", "MB", "Seconds", "")
    for engine in result.engines:
        megabytes = "" if engine.bytes is None else f"{engine.bytes / 1e6:.2f}"
        if engine.layers is not None:
            remark = f"accepted, {engine.layers} layers"
        else:
            remark = "built" if engine.built else "was there"
        table.add_row(engine.role, engine.path or "", megabytes, f"{engine.seconds:.1f}", remark)
    return table


def _footer(result: BundleEngines) -> str:
    where = result.gpu or (f"compute capability {result.capability}" if result.capability else "")
    return f"{result.flavour} {result.version}{', ' + where if where else ''}"


COMMAND = build
