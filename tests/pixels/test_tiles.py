"""How a picture is cut: all of it, no tile larger than asked, neighbours sharing what was asked."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from samedge.errors import OptionError
from samedge.pixels.tiles import Tiling


@pytest.mark.parametrize(
    ("size", "side", "overlap"),
    [
        ((300, 451), 128, 16),
        ((300, 451), 128, 0),
        ((300, 451), 128, 64),
        ((129, 128), 128, 32),
        ((40, 1000), 100, None),
        ((1, 1), 64, None),
    ],
)
def test_tiles_cover_the_picture(size: tuple[int, int], side: int, overlap: int | None) -> None:
    tiling = Tiling(side, overlap)
    boxes = tiling.boxes(size)
    seen = np.zeros(size, np.int64)
    for x0, y0, x1, y1 in boxes:
        assert (y1 - y0, x1 - x0) == (min(side, size[0]), min(side, size[1]))
        seen[y0:y1, x0:x1] += 1
    assert seen.min() == 1 or overlap == side // 2
    for axis in (0, 1):
        spans = sorted({(box[axis], box[axis + 2]) for box in boxes})
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert end - start >= tiling.shared


def test_a_picture_within_a_tile_is_one() -> None:
    assert Tiling(512).boxes((300, 512)) == [(0, 0, 512, 300)]


@pytest.mark.parametrize(
    ("side", "overlap", "said"),
    [
        (63, None, "expected 64 or more"),
        (100.5, None, "expected whole numbers"),
        (128, "8", "expected whole numbers"),
        (128, 65, "expected 0 to 64"),
        (128, -1, "expected 0 to 64"),
        (20_000, None, "A tile has 400000000 pixels, limit 89478485"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(side: Any, overlap: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Tiling(side, overlap)
