"""Small islands and holes, against the reference code of Segment Anything."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from samedge.pixels.islands import mended


@pytest.mark.parametrize("seed", range(8))
def test_equals_segment_anything(seed: int) -> None:
    pytest.importorskip("cv2")
    reference = pytest.importorskip("segment_anything.utils.amg").remove_small_regions
    rng = np.random.default_rng(seed)
    noise = rng.random((rng.integers(3, 60), rng.integers(3, 60)))
    smooth = Image.fromarray((noise * 255).astype(np.uint8)).resize((97, 83), Image.Resampling.BOX)
    for mask in (noise > 0.55, np.asarray(smooth) > 128):
        for least in (1, 7, 40):
            expected = reference(reference(mask, least, "holes")[0], least, "islands")[0]
            assert np.array_equal(mended(mask, least_px=least), expected)


def test_the_largest_island_stays_and_corners_touch() -> None:
    mask = np.zeros((8, 8), np.bool_)
    mask[1, 1] = mask[2, 2] = mask[3, 3] = True  # one piece
    mask[6, 6] = True
    kept = mended(mask, least_px=3)
    assert kept.sum() == 3
    assert not kept[6, 6]
    assert mended(mask, least_px=50).sum() == 3
    assert not mended(np.zeros((4, 4), np.bool_), least_px=9).any()
