r"""Draw how a model's predicted IoU relates to the IoU that its masks have.

    samedge eval --dataset instances.json --images photos/ --prompts box,center,clicks:3 \
        --instances -o accuracy.json
    python tools/plot_calibration.py accuracy.json -o docs/images/nano-calibration.svg

One curve a kind of prompt: instances are put in order of the predicted IoU and cut into bins of
equal count; a dot is a bin's mean IoU over its mean prediction, with the 95% bootstrap interval
over images. On the dashed line a model says what is true. The table printed beside it has the bias
(mean prediction less mean IoU), the error (mean distance of the bins from the line, weighted by
their count) and Spearman's rank correlation, which says how well predictions put masks in order.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import click
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from samedge import records
from samedge.pixels.metrics import bootstrap_mean
from samedge.records import EvalRecord
from samedge.records.accuracy import ScoredInstance
from samedge.types import Array

mpl.use("Agg")

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bin:
    """Instances of nearly the same predicted IoU.

    Attributes:
        predicted: their mean prediction.
        measured: their mean IoU.
        interval: of ``measured``, 95%; ``None`` for instances of a single image.
        count: how many they are.
    """

    predicted: float
    measured: float
    interval: tuple[float, float] | None
    count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """One kind of prompt: its bins, and what the module says about figures."""

    prompt: str
    bins: tuple[Bin, ...]
    bias: float
    error: float
    rank_correlation: float


def calibration(prompt: str, scores: Sequence[ScoredInstance], *, bins: int) -> Calibration:
    """Bins and figures of one kind of prompt.

    Args:
        prompt: its name.
        scores: every instance's, of one subject; at least ``bins``.
        bins: how many of equal count.
    """
    predicted = np.array([score.predicted_iou for score in scores])
    measured = np.array([score.iou for score in scores])
    images = np.array([score.image for score in scores])
    found = []
    for index in np.array_split(np.argsort(predicted, kind="stable"), bins):
        interval = bootstrap_mean(measured[index].tolist(), images[index].tolist())
        found.append(
            Bin(
                predicted=float(predicted[index].mean()),
                measured=float(measured[index].mean()),
                interval=interval,
                count=len(index),
            )
        )
    gaps = [abs(each.predicted - each.measured) * each.count for each in found]
    return Calibration(
        prompt=prompt,
        bins=tuple(found),
        bias=float(predicted.mean() - measured.mean()),
        error=sum(gaps) / len(scores),
        rank_correlation=float(np.corrcoef(_ranks(predicted), _ranks(measured))[0, 1]),
    )


def _ranks(values: Array) -> Array:
    """Ranks from 0, equal values with the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: Array = ends - (counts + 1) / 2
    return mean[inverse]


def calibrations(record: EvalRecord, *, bundle: str | None, bins: int) -> list[Calibration]:
    """One for each kind of prompt of a record.

    Raises:
        click.UsageError: it lacks every instance's scores, or holds several subjects.
    """
    scores = [s for s in record.instances or [] if bundle in (None, s.bundle)]
    subjects = sorted({f"{s.bundle} on {s.backend}" for s in scores})
    if len(subjects) != 1:
        found = ", ".join(subjects) or "none: record it with `samedge eval --instances`"
        raise click.UsageError(f"Expected the instances of one subject: there is {found}.")
    prompts = dict.fromkeys(s.prompt for s in scores)
    by_prompt = {p: [s for s in scores if s.prompt == p] for p in prompts}
    few = min(map(len, by_prompt.values()))
    if few < 2 * bins:
        raise click.UsageError(f"{few} instances are too few for {bins} bins: take fewer --bins.")
    return [calibration(p, scores, bins=bins) for p, scores in by_prompt.items()]


def draw(found: Sequence[Calibration], output: Path) -> None:
    """Write the plot, an SVG or a picture by its ending."""
    figure, axes = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    for each, color in zip(found, itertools.cycle(_COLORS), strict=False):
        x = [b.predicted for b in each.bins]
        y = [b.measured for b in each.bins]
        low = [b.measured - b.interval[0] if b.interval else 0.0 for b in each.bins]
        high = [b.interval[1] - b.measured if b.interval else 0.0 for b in each.bins]
        axes.errorbar(
            x,
            y,
            yerr=np.maximum([low, high], 0.0),
            color=color,
            marker="o",
            markersize=3.5,
            linewidth=1.2,
            capsize=2,
            label=f"{each.prompt} (bias {each.bias:+.2f})",
        )
    axes.set(xlabel="predicted IoU", ylabel="IoU with the ground truth", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(output, metadata={"Date": None} if output.suffix == ".svg" else None)
    plt.close(figure)


@click.command()
@click.argument("record", type=click.Path(exists=True, path_type=Path))
@click.option("--bundle", help="The subject, where the record has several.")
@click.option("--bins", type=click.IntRange(2), default=10, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(record: Path, *, bundle: str | None, bins: int, output: Path) -> None:
    """Draw RECORD, of `samedge eval --instances`, to OUTPUT and print its figures."""
    document = records.read(record)
    if not isinstance(document, EvalRecord):
        raise click.UsageError(f"{record} is no record of `samedge eval`.")
    found = calibrations(document, bundle=bundle, bins=bins)
    draw(found, output)
    click.echo("| prompt | bias | error | rank correlation |\n|---|---|---|---|")
    for each in found:
        figures = f"{each.bias:+.3f} | {each.error:.3f} | {each.rank_correlation:.2f}"
        click.echo(f"| {each.prompt} | {figures} |")


if __name__ == "__main__":
    main()
