"""Rounds of ``samedge bench`` over the same subjects, joined as if they had been one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from samedge.benchmark.latency import Samples, compare, stage_row, variation_warnings, verdict
from samedge.machine.disturbance import tells_of_a_busy_machine
from samedge.pixels import metrics
from samedge.records import BenchRecord, StageRow, Verdict
from samedge.report.decision import Interval

WHOLE = "end_to_end"


def joined(records: Sequence[BenchRecord], *, deadline_ms: float | None = None) -> BenchRecord:
    """One record of all rounds, with every figure taken from all samples.

    Args:
        records: at least one, of the same subjects, made with ``Plan.keep_samples``; block i of one
            subject ran next to block i of the others.
        deadline_ms: what the verdicts are about; ``None`` gives none.
    """
    rows = [_row(same) for same in _by_stage(records)]
    wholes = [row for row in rows if row.stage == WHOLE]
    return msgspec.structs.replace(
        records[0],
        results=[msgspec.structs.replace(row, samples=None) for row in rows],
        comparisons=list(compare(rows)),
        deadline=[] if deadline_ms is None else [_verdict(row, deadline_ms) for row in wholes],
        warnings=_warnings(records, rows),
        seconds=math.fsum(record.seconds or 0.0 for record in records),
    )


def _by_stage(records: Sequence[BenchRecord]) -> Iterable[list[StageRow]]:
    """The rows of each subject's stage, a round each."""
    found: dict[tuple[tuple[str, str, str], str], list[StageRow]] = {}
    for record in records:
        for row in record.results:
            found.setdefault((row.key, row.stage), []).append(row)
    return found.values()


def _row(rows: Sequence[StageRow]) -> StageRow:
    first = rows[0]
    return stage_row(
        first,
        first.stage,
        samples=_samples(rows),
        peak_rss_bytes=max((r.peak_rss_bytes for r in rows if r.peak_rss_bytes), default=None),
        artifact_bytes=first.artifact_bytes,
        keep_samples=True,
    )


def _samples(rows: Iterable[StageRow]) -> Samples:
    samples = Samples()
    for row in rows:
        if row.samples is not None:
            samples.blocks += row.samples.blocks_ms
            samples.images += row.samples.images
        samples.cold_ms = row.cold_ms if samples.cold_ms is None else samples.cold_ms
    return samples


def _verdict(row: StageRow, deadline_ms: float) -> Verdict:
    return verdict(row, _samples([row]).values, deadline_ms=deadline_ms)


def _warnings(records: Sequence[BenchRecord], rows: Sequence[StageRow]) -> list[str]:
    """What disturbed the machine, each kind once; and what varies over all rounds."""
    own = {text for record in records for text in variation_warnings(record.results)}
    texts = [text for record in records for text in record.warnings]
    busy = sorted(text for text in texts if tells_of_a_busy_machine([text]))
    other = [text for text in texts if text not in own and text not in busy]
    kept = {text.split(" ", 2)[0]: text for text in busy}
    return [*kept.values(), *dict.fromkeys(other), *variation_warnings(rows)]


def ratio(record: BenchRecord, bundle: str, *, against: str) -> Interval | None:
    """How many times as fast one bundle is as another, end to end.

    Args:
        record: of the run.
        bundle: as the record names it.
        against: the other one.

    Returns:
        Estimate, low and high end of the 95% interval; ``None`` with fewer than five pairs.
    """
    blocks = {row.bundle: row.block_p50_ms for row in record.results if row.stage == WHOLE}
    if bundle not in blocks or against not in blocks:
        return None
    count = min(len(blocks[bundle]), len(blocks[against]))
    return metrics.bootstrap_ratio(blocks[against][:count], blocks[bundle][:count])
