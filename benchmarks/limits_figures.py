"""From the times of `limits.py` to the rows of its record."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from limits_record import Curve, Peak, StageRow
from limits_tasks import HD, Subject, Times

from samedge.types import Array

RESAMPLES = 1000


def peaks(times: Times) -> list[Peak]:
    """What the processor reaches."""
    found = []
    for (curve, name, what, x), values in times.items():
        if curve == "peak":
            amount = 2 * x**3 if what == "product" else 2 * x
            p50 = statistics.median(values)
            found.append(Peak(name, len(values), round(p50, 3), round(amount / p50 * 1e3)))
    return found


def stage_rows(times: Times, subjects: Sequence[Subject]) -> list[StageRow]:
    """Every stage against the processor."""
    rates = {peak.name: peak.per_second for peak in peaks(times)}
    rows = []
    for subject in subjects:
        keys = [key for key in times if key[:2] == ("stages", subject.name)]
        rows += [_stage_row(subject, key[2], times[key], rates) for key in keys]
    return rows


def _stage_row(
    subject: Subject, stage: str, values: Sequence[float], rates: Mapping[str, float]
) -> StageRow:
    p50, (low, high) = statistics.median(values), interval(np.median, np.array([values]))
    operations, moved = subject.operations(stage), subject.bytes_moved(stage, HD)
    compute_ms = 0.0 if operations is None else operations / rates[subject.precision] * 1e3
    return StageRow(
        subject=subject.name,
        stage=stage,
        n=len(values),
        p50_ms=round(p50, 3),
        low_ms=round(low, 3),
        high_ms=round(high, 3),
        operations=operations,
        operations_per_second=None if operations is None else round(operations / p50 * 1e3),
        bytes_moved=moved,
        bytes_per_second=round(moved / p50 * 1e3),
        share_of_product=None if operations is None else round(compute_ms / p50, 3),
        share_of_copy=round(moved / rates["copy"] * 1e3 / p50, 3),
        floor_ms=round(max(compute_ms, moved / rates["copy"] * 1e3), 3),
    )


def curves(times: Times) -> list[Curve]:
    """Every cost that was followed, with its slope."""
    lines: dict[tuple[str, str, str], dict[float, list[float]]] = {}
    for (over, subject, stage, x), values in times.items():
        if over not in ("peak", "stages"):
            lines.setdefault((over, subject, stage), {})[x] = values
    return [_curve(*names, points) for names, points in lines.items()]


def _curve(over: str, subject: str, stage: str, points: Mapping[float, Sequence[float]]) -> Curve:
    xs = np.array(sorted(points))
    samples = np.array([points[x] for x in xs])
    is_power = over == "threads"
    fit = functools.partial(_slope, np.log(xs) if is_power else xs, is_power=is_power)
    slope, offset = fit(np.median(samples, axis=1))
    low, high = interval(lambda drawn, axis: fit(np.median(drawn, axis=axis))[0], samples)
    return Curve(
        over=over,
        subject=subject,
        stage=stage,
        points=[
            (float(x), round(float(np.median(s)), 3)) for x, s in zip(xs, samples, strict=True)
        ],
        slope=round(slope, 4),
        low=round(low, 4),
        high=round(high, 4),
        offset=round(offset, 4),
    )


def _slope(xs: Array, ys: Array, *, is_power: bool) -> tuple[float, float]:
    """Slope and offset of the straight line, for a power in logarithms."""
    if len(xs) < 2:
        return 0.0, float(ys[0])
    slope, offset = np.polyfit(xs, np.log(ys) if is_power else ys, 1)
    return float(slope), float(offset)


def interval(figure: Callable[..., Array | float], samples: Array) -> tuple[float, float]:
    """95% of what a figure is when the rounds are drawn anew."""
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        picks = random.integers(0, samples.shape[1], samples.shape[1])
        drawn.append(np.ravel(figure(samples[:, picks], axis=1))[0])
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
