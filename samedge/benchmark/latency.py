"""From latency samples to figures that can be signed: rows, comparisons, deadline verdicts.

The rules: every sample counts; a percentile is given only where the count supports it; one thing is
called faster than another only with an interval that excludes equality.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import PurePath

import numpy as np

from samedge.pixels import metrics
from samedge.records import (
    Comparison,
    StageRow,
    StageSamples,
    Subject,
    Verdict,
    subject_fields,
)

STAGES = ("load", "first", "preprocess", "encode", "decode", "postprocess", "end_to_end")
START_STAGES = ("load", "first")
COMPARED_STAGES = ("load", "first", "encode", "decode", "end_to_end")

MOST_VARIATION = 0.025
"""Coefficient of variation above which a row is worth a warning."""

_HISTOGRAM_BINS = 40
_FEWEST_FOR_FENCES = 4
_LATE_SHARE = 0.01  # what the 99th percentile allows
_CONFIDENCE = 0.99


@dataclasses.dataclass
class Samples:
    """Latencies of one stage of one subject.

    Attributes:
        blocks: one list of milliseconds a block, in the order of measurement.
        images: which image each block ran on.
        cold_ms: one start with nothing cached.
    """

    blocks: list[list[float]] = dataclasses.field(default_factory=list)
    images: list[int] = dataclasses.field(default_factory=list)
    cold_ms: float | None = None

    def add(self, block: Sequence[float], *, image: int = 0) -> None:
        """Append one block of measurements."""
        self.blocks.append(list(block))
        self.images.append(image)

    @property
    def values(self) -> list[float]:
        """Every sample."""
        return [value for block in self.blocks for value in block]

    def record(self) -> StageSamples:
        """The samples as a record keeps them."""
        rounded = [[round(value, 4) for value in block] for block in self.blocks]
        return StageSamples(blocks_ms=rounded, images=list(self.images))

    def variation(self) -> float | None:
        """Coefficient of variation around each image's own mean.

        Different images cost different time, which is no noise.
        """
        by_image: dict[int, list[float]] = {}
        for image, block in zip(self.images, self.blocks, strict=True):
            by_image.setdefault(image, []).extend(block)
        scaled = [v / float(np.mean(vs)) for vs in by_image.values() if any(vs) for v in vs]
        if len(scaled) <= len(by_image):
            return None
        deviations = np.array(scaled) - 1
        return math.sqrt(float(deviations @ deviations) / (len(scaled) - len(by_image)))


def stage_row(
    subject: Subject,
    stage: str,
    *,
    samples: Samples,
    peak_rss_bytes: int | None,
    artifact_bytes: int | None,
    keep_samples: bool = False,
) -> StageRow:
    """Summarise one stage.

    Args:
        subject: whose it is.
        stage: one of ``STAGES``.
        samples: at least one.
        peak_rss_bytes: largest resident memory of the process, from its start to its end.
        artifact_bytes: size of the files that it opened.
        keep_samples: put every sample into the row.
    """
    values = samples.values
    return StageRow(
        stage=stage,
        n=len(values),
        p50_ms=_rounded(metrics.percentile(values, 50)),
        p90_ms=_rounded(metrics.percentile(values, 90)),
        p95_ms=_rounded(metrics.percentile(values, 95)),
        p99_ms=_rounded(metrics.percentile(values, 99)),
        mean_ms=_rounded(float(np.mean(values))) if values else None,
        min_ms=_rounded(min(values, default=None)),
        max_ms=_rounded(max(values, default=None)),
        cov=_rounded(samples.variation()),
        outliers=metrics.count_outliers(values) if len(values) >= _FEWEST_FOR_FENCES else None,
        cold_ms=_rounded(samples.cold_ms),
        block_p50_ms=[round(float(np.median(block)), 4) for block in samples.blocks],
        histogram_ms=_histogram(values),
        samples=samples.record() if keep_samples else None,
        peak_rss_bytes=peak_rss_bytes,
        artifact_bytes=artifact_bytes,
        **subject_fields(subject),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _histogram(values: Sequence[float]) -> list[tuple[float, float, int]]:
    if len(values) < 2:
        return []
    counts, edges = np.histogram(values, bins=min(_HISTOGRAM_BINS, len(values)))
    bins = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    return [(round(left, 4), round(right, 4), count) for left, right, count in bins if count]


def variation_warnings(rows: Iterable[StageRow]) -> list[str]:
    """What to say of subjects whose latency varies on the same image, one line a subject."""
    noisy: dict[str, list[str]] = {}
    for row in rows:
        if row.cov is not None and row.cov > MOST_VARIATION and row.stage not in START_STAGES:
            name = f"{PurePath(row.bundle).name} on {row.backend}"
            noisy.setdefault(name, []).append(f"{row.stage} {row.cov:.1%}")
    return [
        f"{name} varies by more than {MOST_VARIATION:.1%} on the same image: {', '.join(stages)}."
        for name, stages in noisy.items()
    ]


def differences(first: Subject, second: Subject) -> list[str]:
    """What else differs between two subjects, beside the time they took."""
    found = []
    for field, name in (
        ("model", "model"),
        ("input_size", "input size"),
        ("precision", "precision"),
        ("artifact_sha256", "artifacts"),
    ):
        left, right = getattr(first, field), getattr(second, field)
        if left != right:
            shown = "" if field == "artifact_sha256" else f" ({left} against {right})"
            found.append(f"{name}{shown}")
    return found


def compare(rows: Sequence[StageRow]) -> Iterator[Comparison]:
    """Every pair of subjects in the stages that matter, from the blocks that ran side by side.

    Args:
        rows: of one run; block i of each row ran next to block i of the others.
    """
    for stage in COMPARED_STAGES:
        for first, second in combinations([row for row in rows if row.stage == stage], 2):
            yield _compare_two(first, second)


def _compare_two(first: StageRow, second: StageRow) -> Comparison:
    pairs = min(len(first.block_p50_ms), len(second.block_p50_ms))
    found = metrics.bootstrap_ratio(second.block_p50_ms[:pairs], first.block_p50_ms[:pairs])
    faster = None
    if found is not None and found[1] > 1:
        faster = list(first.key)
    elif found is not None and found[2] < 1:
        faster = list(second.key)
    return Comparison(
        stage=first.stage,
        first=list(first.key),
        second=list(second.key),
        pairs=pairs,
        speedup=None if found is None else round(found[0], 4),
        ci95=None if found is None else (round(found[1], 4), round(found[2], 4)),
        faster=faster,
        differences=differences(first, second),
    )


def verdict(subject: Subject, values: Sequence[float], *, deadline_ms: float) -> Verdict:
    """Whether the 99th percentile of ``end_to_end`` meets a deadline.

    With the samples that a 99th percentile needs, it decides. With fewer the answer can still be no
    for certain: when so many frames were late that a true share of 1% would hardly produce them.

    Args:
        subject: whose frames they are.
        values: milliseconds a frame.
        deadline_ms: the limit.
    """
    late = sum(value > deadline_ms for value in values)
    p99 = metrics.percentile(values, 99)
    met, why = _judge(late, len(values), p99=p99, deadline_ms=deadline_ms)
    return Verdict(
        deadline_ms=deadline_ms,
        met=met,
        p99_ms=_rounded(p99),
        late=round(late / len(values), 6) if values else None,
        n=len(values),
        why=why,
        **subject_fields(subject),
    )


def _judge(
    late: int, count: int, *, p99: float | None, deadline_ms: float
) -> tuple[bool | None, str]:
    lateness = f"{late} of {count} frames were later than {deadline_ms:g} ms"
    if p99 is not None:
        relation = "meets" if p99 <= deadline_ms else "misses"
        return p99 <= deadline_ms, f"p99 of {p99:.2f} ms {relation} the deadline; {lateness}"
    if late and _binomial_tail(late, count, _LATE_SHARE) < 1 - _CONFIDENCE:
        return False, f"{lateness}, more than 1% with 99% confidence"
    needed = metrics.PERCENTILE_MIN_COUNT[99]
    return None, f"{lateness}; a verdict at p99 needs {needed} samples: raise --min-count"


def _binomial_tail(successes: int, trials: int, share: float) -> float:
    """Chance of at least so many successes."""
    below = sum(
        math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(successes)
    )
    return max(0.0, 1.0 - below)
