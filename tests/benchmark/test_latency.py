"""Times become rows, and rows a verdict."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from samedge.benchmark.bench import Plan, bench, find_images
from samedge.benchmark.latency import Samples, compare, stage_row, verdict
from samedge.benchmark.process import ChosenSubject
from samedge.errors import ImageError
from samedge.records import StageRow, Subject
from tests.benchmark.efforts import TINY


class TestLatency:
    def _row(self, backend: str, blocks: list[float], **fields: object) -> StageRow:
        samples = Samples()
        for value in blocks:
            samples.add([value] * 3)
        subject = Subject(bundle="b", backend=backend, **fields)  # type: ignore[arg-type]
        return stage_row(
            subject, "encode", samples=samples, peak_rss_bytes=None, artifact_bytes=None
        )

    def test_row_counts_everything(self) -> None:
        samples = Samples()
        samples.add([10.0] * 60 + [11.0] * 60)
        samples.add([500.0])
        row = stage_row(
            Subject(bundle="b", backend="x"),
            "decode",
            samples=samples,
            peak_rss_bytes=7,
            artifact_bytes=8,
        )
        assert (row.n, row.outliers, row.max_ms, row.min_ms) == (121, 1, 500.0, 10.0)
        assert row.mean_ms == pytest.approx((600 + 660 + 500) / 121, abs=1e-4)
        assert row.p90_ms == 11.0
        assert row.p95_ms is None
        assert sum(count for _, _, count in row.histogram_ms) == 121
        assert row.block_p50_ms == [10.5, 500.0]

    def test_a_picture_that_cannot_be_read_ends_it_before_the_work(self, tmp_path: Path) -> None:
        """Blocks rotate over the pictures: it would come up after minutes, or at the very end."""
        (tmp_path / "a.png").write_bytes(b"no picture")
        plan = Plan((*find_images()[:1], tmp_path / "a.png"), TINY)
        with pytest.raises(ImageError, match=r"a\.png is not an image"):
            bench([ChosenSubject(bundle=str(tmp_path / "absent"))], plan)

    def test_variation_is_around_each_images_own_mean(self) -> None:
        samples = Samples()
        samples.add([10.0, 10.0, 10.0], image=0)
        samples.add([90.0, 90.0, 90.0], image=1)
        assert samples.variation() == 0.0
        samples.add([9.0, 11.0], image=2)
        # Relative deviations of -0.1 and 0.1; eight samples on three images.
        assert samples.variation() == pytest.approx(math.sqrt(0.02 / 5))

    def test_one_sample_has_no_variation(self) -> None:
        samples = Samples()
        samples.add([1.0])
        assert samples.variation() is None

    def test_faster_only_when_the_interval_excludes_one(self) -> None:
        rng = np.random.default_rng(0)
        noise = rng.lognormal(0, 0.2, 12)
        base = self._row("a", (10 * noise).tolist())
        double = self._row("b", (20 * noise).tolist())
        same = self._row("c", (10 * rng.lognormal(0, 0.2, 12)).tolist())
        by_pair = {(c.first[1], c.second[1]): c for c in compare([base, double, same])}
        clear = by_pair["a", "b"]
        assert clear.speedup == pytest.approx(2.0, rel=1e-3)
        assert clear.faster == ["b", "a", ""]
        assert by_pair["b", "c"].faster == ["b", "c", ""]
        open_ = by_pair["a", "c"]
        assert open_.faster is None
        assert open_.ci95 is not None
        assert open_.ci95[0] < 1 < open_.ci95[1]

    def test_differences_are_named(self) -> None:
        first = self._row("a", [1.0] * 5, input_size=512, precision="int8", artifact_sha256="1")
        second = self._row("b", [2.0] * 5, input_size=1024, precision="fp32", artifact_sha256="2")
        found = next(compare([first, second])).differences
        expected = ["input size (512 against 1024)", "precision (int8 against fp32)", "artifacts"]
        assert found == expected

    @pytest.mark.parametrize(
        ("values", "met", "why"),
        [
            ([20.0] * 662, True, "p99 of 20.00 ms meets"),
            ([20.0] * 640 + [50.0] * 22, False, "p99 of 50.00 ms misses"),
            ([20.0] * 100, None, "needs 662 samples"),
            ([20.0] * 90 + [50.0] * 10, False, "10 of 100 frames"),
            ([20.0] * 99 + [50.0], None, "1 of 100 frames"),
            ([], None, "needs 662 samples"),
        ],
    )
    def test_deadline(self, values: list[float], met: bool | None, why: str) -> None:
        found = verdict(Subject(bundle="b", backend="x"), values, deadline_ms=33)
        assert found.met is met
        assert why in found.why
        assert (found.late is None) == (not values)  # not measured is null, never 0
