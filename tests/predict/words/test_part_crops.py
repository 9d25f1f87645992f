"""Regions of a picture that is read part by part: cut and named as out of the whole picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge import formats
from samedge.errors import OptionError
from samedge.pixels import metrics
from samedge.pixels.boxes import Box
from samedge.pixels.images import load_image
from samedge.pixels.picture_parts import opened_in_parts
from samedge.pixels.rle import rle_from_mask
from samedge.pixels.tiles import Tiling
from samedge.predict.everything import EverythingConfig
from samedge.predict.everything_masks import AutomaticMask, mask_from_record
from samedge.predict.predictor import Predictor
from samedge.predict.words.crops import region_crops
from samedge.predict.words.files import label_in_tiles
from samedge.predict.words.finding import named
from samedge.predict.words.part_crops import part_crops
from samedge.types import Array
from tests.toys.words import words_record, write_words_bundle

pytest.importorskip("onnxruntime")

SIZE = (401, 560)
SIDE = 24
BOXES: tuple[Box, ...] = (
    (0, 0, 560, 401),
    (100, 30, 480, 391),  # as it is, by whole steps of 5
    (3, 2, 40, 20),
    (300, 390, 340, 401),
    (545, 100, 560, 380),
    (200, 200, 201, 201),
    (0, 150, 560, 160),
    (250, 0, 270, 401),
)
RULES = words_record(enlarge=1.2, outside=0.2)


def picture() -> Array:
    rng = np.random.default_rng(7)
    colours = rng.integers(0, 256, (58, 80, 3), np.uint8)
    grain = rng.integers(0, 40, (*SIZE, 3), np.uint8)
    smooth = np.kron(colours, np.ones((7, 7, 1), np.uint8))[: SIZE[0], : SIZE[1]]
    return np.asarray(smooth // 2 + grain, np.uint8)


def region(pixels: Array) -> AutomaticMask:
    box = metrics.bounding_box(pixels)
    return AutomaticMask(
        rle=rle_from_mask(pixels),
        box=box or (0, 0, 0, 0),
        area=int(pixels.sum()),
        predicted_iou=0.9,
        stability_score=0.9,
        point=(0.0, 0.0),
        crop_box=(0, 0, SIZE[1], SIZE[0]),
    )


def regions() -> list[AutomaticMask]:
    """Boxes with holes, and one region without a pixel."""
    rng = np.random.default_rng(8)
    found = []
    for x0, y0, x1, y1 in BOXES:
        pixels = np.zeros(SIZE, np.bool_)
        pixels[y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < 0.8
        pixels[y0, x0] = pixels[y1 - 1, x1 - 1] = True
        found.append(region(pixels))
    return [*found, region(np.zeros(SIZE, np.bool_))]


def crops() -> Array:
    """Those of the whole picture."""
    return region_crops(picture(), [one.mask for one in regions()], record=RULES, side=SIDE)


def check_crops(source: Path | Array, wanted: Array, *, longest: int) -> None:
    with opened_in_parts(source) as parts:
        for box in parts.in_order(Tiling(2 * longest).boxes(parts.size)):
            parts.read(box)  # as it was segmented: the crops are read from the beginning again
        found = dict(part_crops(parts, regions(), record=RULES, side=SIDE, longest=longest))
    assert sorted(found) == list(range(len(wanted)))
    for number, crop in enumerate(wanted):
        assert np.array_equal(found[number], crop), number


@pytest.mark.parametrize("longest", [32, 100, 1000])
def test_crops_in_blocks_are_those_of_the_whole(longest: int) -> None:
    check_crops(picture(), crops(), longest=longest)


@pytest.mark.parametrize("name", ["a.png", "turned.tif", "upside-down.tif", "tiled.tif"])
def test_crops_of_a_picture_that_is_not_held(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vips = pytest.importorskip("pyvips")
    path = tmp_path / name
    if name == "tiled.tif":
        image = vips.Image.new_from_array(picture())
        image.tiffsave(str(path), tile=True, tile_width=64, tile_height=64, compression="deflate")
    else:
        exif = Image.Exif()
        turn = {"turned.tif": 6, "upside-down.tif": 3}.get(name)
        if turn is not None:
            exif[0x112] = turn
        stored = Image.fromarray(picture())
        back = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}.get(turn or 0)
        (stored.transpose(back) if back is not None else stored).save(path, exif=exif)
    assert np.array_equal(load_image(path), picture())
    wanted = crops()
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=90000")  # 128 rows or columns, and no more
    check_crops(path, wanted, longest=64)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    folder = tmp_path_factory.mktemp("words") / "toy"
    write_words_bundle(folder, enlarge=1.5, outside=0.2)
    with Predictor.from_bundle(folder) as opened:
        yield opened


_FEW = EverythingConfig(
    points_per_side=4, pred_iou_threshold=0.0, stability_threshold=0.0, crop_layers=0
)


def coloured() -> Array:
    """A picture whose left is red and whose right is green."""
    image = picture() // 4
    image[:, :280, 0] += 170
    image[:, 280:, 1] += 170
    return np.asarray(image, np.uint8)


def test_names_by_tiles_are_those_of_the_whole_picture(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(coloured()).save(path)
    ticks: list[tuple[int, int]] = []

    def label(**more: Any) -> Any:
        return label_in_tiles(predictor, path, tiling=Tiling(160), config=_FEW, **more)

    found = label(progress=lambda done, total: ticks.append((done, total)))
    masks = found.found.masks
    whole = named(predictor, coloured(), regions=[mask_from_record(mask) for mask in masks])
    wanted = [None if one is None else (one.word, round(one.score, 6)) for one in whole]
    got = [
        (mask.category, mask.word_score) if isinstance(mask.category, str) else None
        for mask in masks
    ]
    assert got == wanted
    assert {"red", "green"} <= {entry[0] for entry in got if entry is not None}
    tiles = len(Tiling(160).boxes(SIZE))
    assert ticks[-1] == (2 * tiles, 2 * tiles)
    assert [done for done, _ in ticks] == sorted(done for done, _ in ticks)
    pytest.importorskip("pyvips")
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=100000")
    assert label().found.masks == masks
    with pytest.raises(OptionError, match="overlay holds masks"):
        label(into=formats.get("overlay"))
