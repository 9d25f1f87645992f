"""Rounds of ``samedge bench`` over the same subjects, joined as if they had been one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from samedge.pixels import metrics
from samedge.records import BenchRecord, StageRow
from samedge.report.decision import Interval

WHOLE = "end_to_end"


class Rounds:
    """What several rounds measured.

    Args:
        records: of the rounds; block i of one subject ran next to block i of the others.
    """

    def __init__(self, records: Sequence[BenchRecord]) -> None:
        self.records = tuple(records)

    def rows(self, bundle: str) -> list[StageRow]:
        """The whole-frame rows of one bundle, a round each."""
        return [
            row
            for record in self.records
            for row in record.results
            if row.bundle == bundle and row.stage == WHOLE
        ]

    def ratio(self, first: str, second: str) -> Interval | None:
        """How many times as fast one bundle is as another, end to end.

        Returns:
            Estimate, low and high end of the 95% interval; ``None`` with fewer than five pairs.
        """
        ours, theirs = self._paired(first, second)
        return metrics.bootstrap_ratio(theirs, ours)

    def _paired(self, first: str, second: str) -> tuple[list[float], list[float]]:
        ours: list[float] = []
        theirs: list[float] = []
        for record in self.records:
            blocks = _blocks(record)
            if first in blocks and second in blocks:
                count = min(len(blocks[first]), len(blocks[second]))
                ours += blocks[first][:count]
                theirs += blocks[second][:count]
        return ours, theirs

    def p50_ms(self, bundle: str) -> float | None:
        """Median of the medians of all blocks."""
        values = [v for row in self.rows(bundle) for v in row.block_p50_ms]
        return float(sorted(values)[len(values) // 2]) if values else None

    def p99_ms(self, bundle: str) -> float | None:
        """The largest of the rounds' own 99th percentiles; ``None`` where none had the samples."""
        return max((r.p99_ms for r in self.rows(bundle) if r.p99_ms is not None), default=None)

    def met_deadline(self, bundle: str) -> bool | None:
        """Whether every round met the deadline; ``None`` where none could tell."""
        verdicts = [v.met for r in self.records for v in r.deadline if v.bundle == bundle]
        if False in verdicts:
            return False
        return True if True in verdicts else None

    def peak_rss_bytes(self, bundle: str) -> int | None:
        """Most memory that its process needed in any round."""
        return max((r.peak_rss_bytes for r in self.rows(bundle) if r.peak_rss_bytes), default=None)

    def artifact_bytes(self, bundle: str) -> int | None:
        """Size of its files."""
        return next((r.artifact_bytes for r in self.rows(bundle)), None)

    @property
    def warnings(self) -> list[str]:
        """What the rounds warned of, each once."""
        return list(dict.fromkeys(text for record in self.records for text in record.warnings))


def _blocks(record: BenchRecord) -> Mapping[str, list[float]]:
    return {row.bundle: row.block_p50_ms for row in record.results if row.stage == WHOLE}
