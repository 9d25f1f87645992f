"""Draw the held-out mIoU of training runs, one after the other.

python tools/plot_training.py docs/images/nano-training.svg benchmarks/results/nano-training/nano-320.csv ...
"""  # noqa: E501 - a command is not broken

from __future__ import annotations

import csv
from pathlib import Path

import click
import matplotlib as mpl
import matplotlib.pyplot as plt

mpl.use("Agg")


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def main(output: Path, logs: tuple[Path, ...]) -> None:
    """Draw LOGS, the `log.csv` of consecutive runs, to OUTPUT."""
    start, curves = 0, {"val_box_miou": "box", "val_point_miou": "central point"}
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    points: dict[str, list[tuple[int, float]]] = {key: [] for key in curves}
    for log in logs:
        rows = list(csv.DictReader(log.open()))
        for key in curves:
            points[key] += [(start + int(row["step"]), float(row[key])) for row in rows if row[key]]
        start += max(int(row["step"]) for row in rows)
        axes.axvline(start, color="0.8", linewidth=1)
    for key, label in curves.items():
        axes.plot(*zip(*points[key], strict=True), marker="o", markersize=3, label=label)
    axes.set(xlabel="step", ylabel="mIoU on held-out photos", ylim=(0, 1))
    axes.legend(frameon=False)
    figure.savefig(output)


if __name__ == "__main__":
    main()
