"""What ``samedge bench`` does with bundles of target web: it drives their pages in a browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from samedge.cli import output
from samedge.errors import OptionError

if TYPE_CHECKING:
    from samedge.bundle.bundle import Bundle
    from samedge.records import BenchRecord, PageRow
    from samedge.web.benching import PagePlan


def page_record(out: output.Output, pages: Sequence[Bundle], *, plan: PagePlan) -> BenchRecord:
    """Measure pages while a bar shows the visits."""
    from samedge.web.benching import bench_pages

    with out.progress("Visiting") as bar:
        return bench_pages(pages, plan, progress=bar.progress, stage=bar.stage)


def refuse_for_pages(given: Sequence[tuple[str, object]]) -> None:
    """Say which options a page has no answer to.

    Args:
        given: options by name with their values.

    Raises:
        OptionError: one has a value.
    """
    for name, value in given:
        if value:
            raise OptionError(
                f"{name} does not apply to a page, whose load, encode and clicks are timed: leave "
                "it out, or name --backend onnxruntime to measure its graphs without a browser."
            )


def page_remarks(rows: Sequence[PageRow]) -> Iterator[str]:
    """What was measured of each page beside its stages."""
    for row in rows:
        peak = "" if row.peak_bytes is None else f", peak memory {row.peak_bytes / 1e6:.0f} MB"
        if row.footprint_bytes is not None:
            peak += f" resident, {row.footprint_bytes / 1e6:.0f} MB footprint"
        yield (
            f"{row.bundle} in {row.browser} ({row.engine}): site {row.site_bytes / 1e6:.1f} MB, "
            f"first visit {row.transfer_bytes / 1e6:.1f} MB compressed{peak}"
        )
