r"""Draw the resident memory of a long run of prompts, one curve a backend.

    make soak
    python tools/plot_soak.py build/soak-*.json -o docs/images/soak.svg

A dashed line ends the warm-up, which the slope leaves out.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import click
import matplotlib as mpl
import matplotlib.pyplot as plt
import msgspec

from benchmarks.soak import PER, WARM_UP, Soak

mpl.use("Agg")

_COLORS = ("#0072b2", "#d55e00", "#009e73")


def draw(found: Sequence[Soak], output: Path) -> None:
    """Write the plot, an SVG or a picture by its ending."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for each, color in zip(found, itertools.cycle(_COLORS), strict=False):
        prompts = [sample.prompts / 1000 for sample in each.samples]
        memory = [sample.resident_bytes / 1e6 for sample in each.samples]
        grown = f"{each.growth_bytes / 1e6:+.2f} MB in {PER:,} prompts"
        axes.plot(prompts, memory, color=color, label=f"{each.backend}: {grown}")
        axes.axvline(WARM_UP * prompts[-1], color="0.7", linestyle="--", linewidth=1)
    axes.set(xlabel="thousand prompts", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(output, metadata={"Date": None} if output.suffix == ".svg" else None)
    plt.close(figure)


@click.command()
@click.argument(
    "records", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(records: Sequence[Path], *, output: Path) -> None:
    """Draw RECORDS of `python benchmarks/soak.py -o`."""
    draw([msgspec.json.decode(path.read_bytes(), type=Soak) for path in records], output)


if __name__ == "__main__":
    main()
