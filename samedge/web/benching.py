"""Bundles that run in a browser, measured: what ``samedge bench`` calls for their pages."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from samedge.benchmark.plan import effort, find_images
from samedge.bundle.bundle import Bundle, bundle_path
from samedge.errors import OptionError
from samedge.pixels.image_files import PHOTOS
from samedge.predict.subjects import BundleNames, bundle_names
from samedge.records import BenchRecord
from samedge.types import Progress, Stage, Steps
from samedge.web.measuring import BACKEND, measure_page

TARGET = "web"
_THREADS = 2


def chosen_pages(bundles: BundleNames, *, backends: Sequence[str] = ()) -> list[Bundle]:
    """The bundles whose pages are asked for: those of target web, unless a backend is named.

    Args:
        bundles: paths, or names of embedded models.
        backends: as ``samedge bench`` takes them.

    Returns:
        None of them, or all.

    Raises:
        BundleError: a bundle is missing.
        OptionError: some are pages, and others are not.
    """
    if backends and BACKEND not in backends:
        return []
    names = bundle_names(bundles) or (None,)
    opened = [Bundle.open(bundle_path(name), verify=False) for name in names]
    pages = [bundle for bundle in opened if backends or bundle.manifest.target == TARGET]
    if pages and (len(pages) < len(opened) or set(backends) - {BACKEND}):
        raise OptionError(
            f"{pages[0].path} is a page, which is measured in a browser, and others are not: bench "
            "them one after the other, and give both records to `samedge report`."
        )
    return pages


@dataclasses.dataclass(frozen=True, kw_only=True)
class PagePlan:
    """How a page is measured.

    Attributes:
        images: folder of pictures, of which the first is opened; ``None``: samedge's own.
        effort: ``quick``, ``default`` or ``strict``: as many visits as launches, and its count of
            clicks.
        min_count: clicks instead.
        threads: of the page; ``None`` is two.
    """

    images: Path | None = None
    effort: str = "default"
    min_count: int | None = None
    threads: int | None = None


def bench_pages(
    pages: Sequence[Bundle],
    plan: PagePlan,
    *,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> BenchRecord:
    """Time the pages of bundles, one after the other.

    Args:
        pages: at least one.
        plan: what is asked for.
        progress: hears of every visit.
        stage: is told what is done.

    Raises:
        BackendUnavailableError: Playwright or a browser is missing.
        BundleError: a bundle carries no page.
        DatasetError: there is no picture.
        InferenceError: a page failed.
        UnknownNameError: there is no such effort.
    """
    asked = effort(plan.effort)
    image = find_images(PHOTOS if plan.images is None else plan.images)[0]
    clicks = math.ceil((plan.min_count or asked.count) / asked.launches)
    steps = Steps(len(pages) * asked.launches, progress=progress, stage=stage)
    measured = [
        measure_page(
            page,
            image,
            loads=asked.launches,
            clicks=clicks,
            threads=plan.threads or _THREADS,
            steps=steps,
        )
        for page in pages
    ]
    return msgspec.structs.replace(
        measured[0],
        results=[row for record in measured for row in record.results],
        pages=[row for record in measured for row in record.pages],
    )
