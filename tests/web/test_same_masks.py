"""The page's masks are Python's: ten photos, every kind of prompt."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge import Predictor, load_image
from samedge.bundle.bundle import Bundle, embedded_path
from samedge.predict.everything import EverythingConfig, segment_everything
from samedge.web.site import site_files
from samedge.web.static import StaticServer, serving
from tests.toys.pictures import resizing_slack
from tests.web.agreement import KINDS, LEAST_IOU, agreement
from tests.web.conftest import Tab, exported, new_tab

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, library: Path) -> Path:
    """Graphs of fixed shapes."""
    return exported(tmp_path_factory.mktemp("exported") / "web", library)


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[StaticServer]:
    with serving(site_files(Bundle.open(site))) as running:
        yield running


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The four photos of the package, and six cuts and sizes of them, without loss."""
    own = sorted((embedded_path().parent / "photos").glob("*.jpg"))
    folder = tmp_path_factory.mktemp("photos")
    made = []
    sizes = [(1920, 1080), (333, 1021), (64, 48), (512, 512), (1201, 400), (2400, 1800)]
    for index, size in enumerate(sizes):
        path = folder / f"photo-{index}.png"
        Image.open(own[index % len(own)]).resize(size, Image.Resampling.BICUBIC).save(path)
        made.append(path)
    return own + made


@pytest.fixture(scope="module")
def predictor(site: Path) -> Iterator[Predictor]:
    with Predictor.from_bundle(site, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(browser: Any, server: StaticServer) -> Iterator[Tab]:
    context = browser.new_context()
    tab = new_tab(context, server.address)
    tab.go()
    yield tab
    context.close()


def test_masks_of_page_and_python_agree(
    page: Tab, predictor: Predictor, photos: list[Path]
) -> None:
    measured = agreement(page, predictor, photos)
    assert set(measured) == set(KINDS)
    assert all(len(values) == 10 for values in measured.values())
    assert min(min(values) for values in measured.values()) >= LEAST_IOU


def test_pixels_of_the_encoder_s_input_are_pillow_s(
    page: Tab, predictor: Predictor, photos: list[Path]
) -> None:
    """Of pictures without loss, to the bit; before Pillow 13 the passes of tall ones came the other
    way round, which turns some levels by one.
    """
    script = """async ([rule, size]) => {
      const { resizeBy } = await import(new URL("modules/resample.js", document.baseURI));
      const bitmap = await createImageBitmap(samedge.photo.blob, { colorSpaceConversion: "none" });
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(bitmap, 0, 0);
      const rows = (top, count) => context.getImageData(0, top, bitmap.width, count).data;
      return [...resizeBy(rule, [bitmap.height, bitmap.width], size, rows)];
    }"""
    rules = ("exact", "fast")
    for path, rule in itertools.product((p for p in photos if p.suffix == ".png"), rules):
        image = load_image(path)
        page.open(path)
        expected = predictor.frame.with_rule(rule).resized(image)
        found = page.page.evaluate(script, [rule, list(expected.shape[:2])])
        difference = np.abs(np.array(found).reshape(expected.shape) - expected.astype(np.int64))
        assert difference.max() <= resizing_slack(image.shape[:2]), (path, rule)


def test_everything_is_python_s(page: Tab, predictor: Predictor, photos: list[Path]) -> None:
    path = photos[-3]  # without loss, so that both see the same pixels
    page.open(path)
    script = """async () => (await samedge.engine.everything(samedge.segmenter.handle,
      { pointsPerSide: 6 })).map(({ iou, stability, point }) => ({ iou, stability, point }))"""
    found = page.page.evaluate(script)
    config = EverythingConfig.for_bundle(predictor.manifest, points_per_side=6, crop_layers=0)
    expected = segment_everything(predictor, load_image(path), config=config)
    wanted = {mask.point: mask for mask in expected}
    common = [wanted[tuple(one["point"])] for one in found if tuple(one["point"]) in wanted]
    print(f"everything: {len(found)} in the page, {len(expected)} in Python, {len(common)} common")
    assert len(common) >= 0.9 * max(len(found), len(expected)) > 0
    assert json.dumps(found)  # plain numbers
