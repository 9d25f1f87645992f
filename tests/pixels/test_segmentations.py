"""COCO's segmentations: what is drawn, and what never reaches compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge.pixels.segmentations import (
    UndrawableError,
    check_segmentation,
    mask_from_segmentation,
)

rle_codec: Any = pytest.importorskip("pycocotools.mask")

POLYGON = [[2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]]
COUNTS = {"size": [5, 8], "counts": [11, 3, 2, 3, 2, 3, 2, 3, 11]}  # column by column
EXPECTED = np.zeros((5, 8), bool)
EXPECTED[1:4, 2:6] = True


def test_the_three_segmentations_decode_alike() -> None:
    encoded = rle_codec.encode(np.asfortranarray(EXPECTED.astype(np.uint8)))
    compressed = {"size": [5, 8], "counts": encoded["counts"].decode()}
    for segmentation in (POLYGON, COUNTS, compressed):
        mask = mask_from_segmentation(segmentation, (5, 8))
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, EXPECTED)
        check_segmentation(segmentation, (5, 8))


def test_several_polygons_are_one_mask() -> None:
    two = [*POLYGON, [6.0, 1.0, 8.0, 1.0, 8.0, 4.0, 6.0, 4.0]]
    assert mask_from_segmentation(two, (5, 8)).sum() == EXPECTED.sum() + 6


def test_a_two_point_polygon_beside_a_good_one_draws_nothing() -> None:
    for both in ([*POLYGON, [5, 5, 6, 6]], [[5, 5, 6, 6], *POLYGON]):
        np.testing.assert_array_equal(mask_from_segmentation(both, (5, 8)), EXPECTED)


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "no segmentation"),
        ("text", "neither polygons nor run lengths"),
        (7, "neither polygons nor run lengths"),
        ([], "without a polygon"),
        ([[]], "fewer than three points"),
        ([[1.0, 2.0, 3.0, 4.0]], "fewer than three points"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]], "odd number"),
        ([[[2, 1], [6, 1], [6, 4]]], "no numbers"),
        ([["2", "1", "6", "1", "6", "4"]], "no numbers"),
        ([[None] * 6], "no numbers"),
        ([{"x": 1}], "no list of numbers"),
        ([2, 1, 6, 1, 6, 4], "no list of numbers"),
        ([[float("nan"), 1, 6, 1, 6, 4]], "not finite, or far"),
        ([[float("inf"), 1, 6, 1, 6, 4]], "not finite, or far"),
        ([[1e30, 1, 6, 1, 6, 4]], "not finite, or far"),
        ([[-1e6, 1, 6, 1, 6, 4]], "not finite, or far"),
        ([[10**400, 1, 6, 1, 6, 4]], "not finite, or far"),
        ([[-100, 0, 100, 0, 100, 1] * 10_000], "longer than the image has room"),
        ({"counts": [40]}, "neither"),
        ({"size": [5, 9], "counts": [45]}, "another size"),
        ({"size": [5, 8.0], "counts": [41]}, "do not fill"),
        ({"size": [5, 8], "counts": [41]}, "do not fill"),
        ({"size": [5, 8], "counts": [41, -1]}, "do not fill"),
        ({"size": [5, 8], "counts": [10**400]}, "do not fill"),
        ({"size": [5, 8], "counts": ["40"]}, "do not fill"),
        ({"size": [5, 8], "counts": None}, "do not fill"),
        ({"size": [5, 8], "counts": "ä"}, "do not fill"),
        ({"size": [5, 8], "counts": "\x00"}, "do not fill"),
        ({"size": [5, 8], "counts": "oooooooooooooooooooooo0"}, "do not fill"),
        ({"size": [5, 8], "counts": "o"}, "do not fill"),
        ({"size": [5, 8], "counts": ""}, "do not fill"),
    ],
)
def test_what_cannot_be_drawn(segmentation: Any, reason: str) -> None:
    with pytest.raises(UndrawableError, match=reason):
        mask_from_segmentation(segmentation, (5, 8))
    with pytest.raises(UndrawableError, match=reason):
        check_segmentation(segmentation, (5, 8))


def test_a_little_outside_is_cut() -> None:
    around = [[-3.0, -2.0, 12.0, -2.0, 12.0, 9.0, -3.0, 9.0]]
    assert mask_from_segmentation(around, (5, 8)).all()
