"""A bundle's page in a browser, timed: what a visitor waits for, as rows of a record."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samedge._version import __version__
from samedge.benchmark.latency import Samples, stage_row
from samedge.bundle.bundle import Bundle
from samedge.errors import BackendUnavailableError, InferenceError
from samedge.machine.environment import environment
from samedge.pixels.images import load_image
from samedge.predict.subjects import artifact_sha256
from samedge.records import (
    BenchRecord,
    PageRow,
    StageRow,
    Subject,
    Workload,
    WorkloadImage,
    subject_fields,
)
from samedge.types import Steps
from samedge.web.renderer import Footprint, FootprintWatch, Renderer
from samedge.web.runtime import VERSION
from samedge.web.site import check_site, site_files
from samedge.web.static import serving

BACKEND = "onnxruntime-web"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE_MS = 180_000.0
_REST_S = 2.0  # while the browser ends the page before
_PLAIN = """for (const id of ["hover", "closer"]) {
  const option = document.getElementById(id);
  if (option.checked) option.click();
}"""
_IS_READY = "html[data-ready]"
_CHECKED = "Promise.resolve(samedge.info.checked).then(() => null)"
_READY = "performance.timeOrigin + Number(document.documentElement.dataset.ready)"
_CLICKS = ((0.5, 0.5), (0.3, 0.4), (0.7, 0.6), (0.4, 0.75), (0.6, 0.25))


def browser_path() -> str:
    """Where a Chromium is.

    Raises:
        BackendUnavailableError: there is none.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise BackendUnavailableError(
            f"No browser to measure in: none of {', '.join(BROWSERS)} is here. Install one, by "
            "`apt-get install chromium` for example."
        )
    return found


def measure_page(
    bundle: Bundle,
    image: Path,
    *,
    size: tuple[int, int] = (1080, 1920),
    loads: int = 3,
    clicks: int = 20,
    threads: int = 2,
    hold_ms: float = 0.0,
    steps: Steps | None = None,
) -> BenchRecord:
    """Open a bundle's page in a headless Chromium, and time it.

    Args:
        bundle: of ``--target web``.
        image: the photo, resized to ``size`` and written as a JPEG.
        size: ``(height, width)`` of the photo.
        loads: visits, each of a browser that knows nothing of the page.
        clicks: on the photo, in each visit.
        threads: of the page.
        hold_ms: from a button's going down to its being let go, which a click is timed from; people
            take about 80. The page begins when it goes down.
        steps: counts the visits.

    Returns:
        The record, as ``samedge bench`` writes it.

    Raises:
        BackendUnavailableError: Playwright or a browser is missing.
        BundleError: the bundle carries no page.
        InferenceError: the page failed.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise BackendUnavailableError(
            "Measuring a page needs Playwright: pip install 'samedge[web]'"
        ) from error
    check_site(bundle)
    files, photo = site_files(bundle), _jpeg(image, size)
    steps = steps or Steps(loads)
    visits = list[_Visit]()
    try:
        with (
            serving(files) as server,
            sync_playwright() as driver,
            contextlib.closing(_launched(driver)) as browser,
        ):
            version = f"Chromium {browser.version}"
            address = f"{server.address}?threads={threads}&device=wasm"
            loaded = _loaded(browser, address)
            for _ in range(loads):
                visits.append(_visit(browser, address, photo, clicks=clicks, hold_ms=hold_ms))
                steps.step("visits of the page")
    except Error as error:
        raise InferenceError(f"The page of {bundle.path} failed: {error}") from error
    subject = _subject(bundle, f"{version}, {visits[0].engine}")
    return BenchRecord(
        environment=environment(threads=threads),
        results=_rows(subject, visits, bundle.size_bytes),
        pages=[_page(subject, visits, files=files, loaded=loaded, browser=version)],
        workload=Workload(
            images=[WorkloadImage(path=image.name, height=size[0], width=size[1])],
            prompt="point",
            count=clicks,
            launches=loads,
        ),
        samedge_version=__version__,
    )


def _launched(driver: Any) -> Any:
    return driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])


@dataclasses.dataclass(frozen=True)
class _Visit:
    engine: str
    load_ms: float
    canary_ms: float
    encode_ms: float
    prepare_ms: float
    clicks_ms: list[float]
    peak_bytes: int | None
    empty_bytes: int | None
    footprint: Footprint | None
    empty_footprint: Footprint | None
    encode_cpu_ms: float | None
    click_cpu_ms: float | None


def _loaded(browser: Any, address: str) -> set[str]:
    """Files that a first visit asks for; hearing of each would slow a visit that is timed."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    names: set[str] = set()
    own = address.partition("?")[0]
    page.on(
        "requestfinished",
        lambda request: names.add(request.url.partition("?")[0].removeprefix(own) or "index.html"),
    )
    page.goto(address)
    page.wait_for_selector(_IS_READY, state="attached")
    page.evaluate(_CHECKED)
    context.close()
    return names


def _visit(browser: Any, address: str, photo: bytes, *, clicks: int, hold_ms: float) -> _Visit:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    empty = Renderer(browser)
    empty_bytes, empty_footprint = empty.peak_bytes(), empty.footprint()
    time.sleep(_REST_S)
    start_ms = time.time() * 1e3
    page.goto(address)
    page.wait_for_selector(_IS_READY, state="attached")
    process = Renderer(browser)
    with FootprintWatch([process.process] if process.process else []) as watch:
        page.evaluate(_CHECKED)
        checked_ms = time.time() * 1e3
        before = process.cpu_ms()
        file = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": photo}
        page.set_input_files("#file", file)
        page.wait_for_selector("html[data-encoded]", state="attached")
        encoded = process.cpu_ms()
        page.evaluate(_PLAIN)
        times = [_click(page, index, hold_ms=hold_ms) for index in range(clicks)]
        clicked = process.cpu_ms()
    timing = page.evaluate("samedge.segmenter.handle.timing")
    ready_ms = page.evaluate(_READY)
    visit = _Visit(
        engine=page.inner_text("#engine"),
        load_ms=ready_ms - start_ms,
        canary_ms=checked_ms - ready_ms,
        encode_ms=float(page.get_attribute("html", "data-encoded") or "nan"),
        prepare_ms=float(timing["preprocess"]),
        clicks_ms=times,
        peak_bytes=process.peak_bytes(),
        empty_bytes=empty_bytes,
        footprint=watch.peak(process.process),
        empty_footprint=empty_footprint,
        encode_cpu_ms=_difference(before, encoded, 1),
        click_cpu_ms=_difference(encoded, clicked, clicks),
    )
    context.close()
    return visit


def _click(page: Any, index: int, *, hold_ms: float = 0.0) -> float:
    """Milliseconds from one click of the mouse to the frame with its mask."""
    page.evaluate("samedge.newObject()")
    answers = int(page.get_attribute("html", "data-answers") or 0)
    box = page.locator("#layer-photo").bounding_box()
    x, y = _CLICKS[index % len(_CLICKS)]
    place = box["x"] + x * box["width"], box["y"] + y * box["height"]
    page.mouse.click(*place, delay=hold_ms)
    page.wait_for_selector(f'html[data-answers="{answers + 1}"]', state="attached")
    return float(page.get_attribute("html", "data-clicked"))


def _difference(before: float | None, after: float | None, count: int) -> float | None:
    return None if before is None or after is None or not count else (after - before) / count


def _subject(bundle: Bundle, device: str) -> Subject:
    manifest = bundle.manifest
    return Subject(
        bundle=str(bundle.path),
        backend=BACKEND,
        device=device,
        backend_version=VERSION,
        bundle_id=bundle.id,
        model=manifest.model.name,
        target=manifest.target,
        precision=manifest.precision,
        input_size=manifest.input_size,
        artifact_sha256=artifact_sha256(bundle),
    )


def _rows(subject: Subject, visits: Sequence[_Visit], size_bytes: int) -> list[StageRow]:
    stages = {
        "load": [[visit.load_ms] for visit in visits],
        "preprocess": [[visit.prepare_ms] for visit in visits],
        "encode": [[visit.encode_ms] for visit in visits],
        "decode": [visit.clicks_ms for visit in visits],
    }
    return [
        stage_row(
            subject,
            stage,
            samples=Samples(blocks=blocks, images=[0] * len(blocks)),
            peak_rss_bytes=_largest([visit.peak_bytes for visit in visits]),
            artifact_bytes=size_bytes,
        )
        for stage, blocks in stages.items()
    ]


def _page(
    subject: Subject,
    visits: Sequence[_Visit],
    *,
    files: dict[str, Path],
    loaded: set[str],
    browser: str,
) -> PageRow:
    sent = [path for name, path in files.items() if name in loaded]
    footprints = [visit.footprint for visit in visits if visit.footprint]
    empty = [visit.empty_footprint for visit in visits if visit.empty_footprint]
    return PageRow(
        **subject_fields(subject),
        engine=visits[0].engine,
        browser=browser,
        site_bytes=sum(path.stat().st_size for path in files.values()),
        transfer_bytes=sum(len(gzip.compress(path.read_bytes(), 6)) for path in sent),
        canary_ms=_median([visit.canary_ms for visit in visits]),
        peak_bytes=_largest([visit.peak_bytes for visit in visits]),
        empty_bytes=_largest([visit.empty_bytes for visit in visits]),
        footprint_bytes=_largest([one.own_bytes for one in footprints]),
        empty_footprint_bytes=_largest([one.own_bytes for one in empty]),
        shared_bytes=_largest([one.shared_bytes for one in footprints]),
        encode_cpu_ms=_median([visit.encode_cpu_ms for visit in visits]),
        click_cpu_ms=_median([visit.click_cpu_ms for visit in visits]),
    )


def _largest(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value), default=None)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _jpeg(path: Path, size: tuple[int, int]) -> bytes:
    picture = Image.fromarray(load_image(path)).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()
