"""Our run-length encoding against pycocotools, both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge.errors import DatasetError
from samedge.pixels.rle import mask_from_rle, rle_from_mask, rle_from_window
from samedge.types import Array

SHAPES = [(1, 1), (1, 9), (9, 1), (13, 17), (240, 321)]


def masks(shape: tuple[int, int]) -> list[Array]:
    rng = np.random.default_rng(sum(shape))
    y, x = np.mgrid[: shape[0], : shape[1]]
    return [
        np.zeros(shape, bool),
        np.ones(shape, bool),
        rng.random(shape) < 0.5,
        rng.random(shape) < 0.01,
        (x - shape[1] / 3) ** 2 + (y - shape[0] / 2) ** 2 < (min(shape) / 3) ** 2,
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_pycocotools(shape: tuple[int, int]) -> None:
    coco: Any = pytest.importorskip("pycocotools.mask")
    for mask in masks(shape):
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        ours = rle_from_mask(mask)
        assert ours["counts"] == expected["counts"].decode()
        assert ours["size"] == list(shape)
        assert (coco.decode(ours) == mask).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_round_trip(shape: tuple[int, int]) -> None:
    for mask in masks(shape):
        assert (mask_from_rle(rle_from_mask(mask)) == mask).all()


@pytest.mark.parametrize("pixels", [1, 7, 100])
def test_some_columns_at_a_time(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that end, begin and go on where one part of a large mask follows another."""
    found = [mask for shape in SHAPES for mask in masks(shape)]
    whole = [rle_from_mask(mask) for mask in found]
    monkeypatch.setattr("samedge.pixels.rle._PIXELS_AT_ONCE", pixels)
    assert [rle_from_mask(mask) for mask in found] == whole


def test_uncompressed_and_bytes_are_read_too() -> None:
    mask = np.array([[0, 1], [1, 1]], bool)
    assert (mask_from_rle({"size": [2, 2], "counts": [1, 3]}) == mask).all()
    counts = rle_from_mask(mask)["counts"].encode()
    assert (mask_from_rle({"size": [2, 2], "counts": counts}) == mask).all()


def test_runs_that_do_not_fill_the_mask_are_refused() -> None:
    with pytest.raises(DatasetError, match="expected 2 x 3"):
        mask_from_rle({"size": [2, 3], "counts": [1, 3]})


@pytest.mark.parametrize("seed", range(40))
def test_a_window_is_written_as_its_whole_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(length) for length in rng.integers(1, 14, 2))
    x0, y0 = int(rng.integers(0, width)), int(rng.integers(0, height))
    x1, y1 = int(rng.integers(x0 + 1, width + 1)), int(rng.integers(y0 + 1, height + 1))
    if seed % 3 == 0:
        y0, y1 = 0, height
    mask = np.zeros((height, width), np.bool_)
    mask[y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < (0.1, 0.5, 0.9, 1, 0)[seed % 5]
    assert _windowed(mask, (x0, y0, x1, y1)) == rle_from_mask(mask)


def _windowed(mask: Array, box: tuple[int, int, int, int]) -> Any:
    x0, y0, x1, y1 = box
    size = mask.shape[0], mask.shape[1]
    return rle_from_window(mask[y0:y1, x0:x1], corner=(x0, y0), size=size)
