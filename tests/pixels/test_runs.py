"""Masks as runs are the masks: whatever is done with them is what NumPy does with the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.errors import DatasetError
from samedge.pixels import metrics
from samedge.pixels.rle import mask_from_rle, rle_from_mask
from samedge.pixels.runs import Runs, runs_from_rle, union
from samedge.types import Array


def some_mask(rng: np.random.Generator) -> Array:
    """Of any size and density, often with columns that are full."""
    height, width = rng.integers(1, 30, 2)
    mask: Array = rng.random((height, width)) < rng.random()
    if rng.random() < 0.3:
        mask[:, rng.integers(0, width) :] = True
    return mask


def runs_of(mask: Array) -> Runs:
    return runs_from_rle(rle_from_mask(mask))


@pytest.mark.parametrize("seed", range(60))
def test_runs_are_the_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = some_mask(rng)
    other = rng.random(mask.shape) < rng.random()
    one, two = runs_of(mask), runs_of(other)
    assert one.area == mask.sum()
    assert one.box == (metrics.bounding_box(mask) or (0, 0, 0, 0))
    assert one.common(two) == two.common(one) == (mask & other).sum()
    assert one.rle(mask.shape) == rle_from_mask(mask)
    assert union([one, two]).rle(mask.shape) == rle_from_mask(mask | other)
    x0, x1 = sorted(rng.integers(0, mask.shape[1] + 1, 2).tolist())
    y0, y1 = sorted(rng.integers(0, mask.shape[0] + 1, 2).tolist())
    cut = np.zeros_like(mask)
    cut[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    assert one.inside((x0, y0, x1, y1)).rle(mask.shape) == rle_from_mask(cut)


def test_a_part_lies_in_the_picture(rng: np.random.Generator) -> None:
    mask = some_mask(rng)
    height, width = mask.shape
    picture = np.zeros((height + 9, width + 7), np.bool_)
    picture[4 : 4 + height, 5 : 5 + width] = mask
    placed = runs_from_rle(rle_from_mask(mask), corner=(5, 4))
    assert placed.rle(picture.shape) == rle_from_mask(picture)


def test_a_picture_of_four_gigapixels_costs_nothing() -> None:
    side = 1 << 16
    square = runs_from_rle(rle_from_mask(np.ones((40, 30), bool)), corner=(side - 30, side - 40))
    far = runs_from_rle(rle_from_mask(np.ones((40, 30), bool)))
    both = union([far, square])
    assert (both.area, both.common(square)) == (2400, 1200)
    assert runs_from_rle(both.rle((side, side))).box == (0, 0, side, side)


def test_runs_that_do_not_fill_the_size_are_refused() -> None:
    with pytest.raises(DatasetError, match="cover"):
        runs_from_rle({"size": [5, 5], "counts": [3, 4]})


def test_uncompressed_counts_are_read() -> None:
    mask = mask_from_rle({"size": [4, 3], "counts": [2, 5, 5]})
    assert runs_from_rle({"size": [4, 3], "counts": [2, 5, 5]}).rle((4, 3)) == rle_from_mask(mask)
