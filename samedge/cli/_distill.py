"""``samedge distill``: train a small model by a recipe, from a teacher or from masks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from samedge.cli.output import Output, standard_options
from samedge.cli.refusing import refuse_output

EPILOG = """\b
Examples:
  samedge distill nano --data ~/data --output runs/nano
  samedge distill nano --data ~/data --output runs/nano --resume
  torchrun --nproc-per-node 8 -m samedge distill my.toml --data ~/data --output runs/my
"""


@click.command("distill", epilog=EPILOG)
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder that the recipe's paths are relative to.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder of the run: checkpoints, logs, pictures, weights.",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint of --output.")
@click.option(
    "--max-steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop after this many steps of the whole run; --resume goes on.",
)
@standard_options
def COMMAND(  # noqa: N802 - the name by which the group finds it
    out: Output, *, recipe: str, data: Path, output: Path, resume: bool, max_steps: int | None
) -> None:
    """Train a model by RECIPE: a TOML file, or the name of a shipped recipe."""
    from samedge.distill.progress import TerminalProgress
    from samedge.distill.train import distill

    refuse_output(output, is_folder=True)
    with TerminalProgress(out.console) as shown:
        result = distill(
            recipe,
            data,
            output=output,
            resume=resume,
            max_steps=max_steps,
            progress=shown.progress,
            stage=shown.stage,
        )
    if not result.is_main:
        return
    if result.interrupted:
        out.note(f"Interrupted after step {result.steps}; add --resume to go on.")
        raise KeyboardInterrupt
    miou = result.box_miou
    figures = f", held-out box mIoU {miou:.3f}" if miou is not None else ""
    out.result(
        dataclasses.asdict(result),
        f"{result.steps} of {result.total_steps} steps{figures}: {output}/last.safetensors",
    )
