"""Outlines of masks, and masks of outlines: exact, both ways, for any mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from samedge.pixels.outlines import joined, outlines, without_straights
from samedge.pixels.polygons import fill, fill_with_border

Mask = npt.NDArray[np.bool_]


def random_masks() -> Iterator[Mask]:
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width = rng.integers(1, 30, 2)
        yield rng.random((height, width)) < rng.random()
    for _ in range(5):
        noise = rng.random((80, 100))
        for axis in (0, 1):
            noise = np.sum([np.roll(noise, shift, axis) for shift in range(-4, 5)], axis=0)
        yield noise > np.median(noise)
    yield np.ones((1, 1), bool)
    yield np.ones((3, 7), bool)
    yield np.eye(9, dtype=bool)


MASKS = list(random_masks())


@pytest.mark.parametrize("mask", MASKS, ids=range(len(MASKS)))
def test_along_the_edges(mask: Mask) -> None:
    parts = outlines(mask)
    rings = [ring for part in parts for ring in (part.outer, *part.holes)]
    assert (fill(rings, mask.shape) == mask).all()
    assert (fill([part.keyhole for part in parts], mask.shape) == mask).all()
    for part in parts:
        assert area(part.outer) > 0
        assert all(area(hole) < 0 for hole in part.holes)
    assert sum(area(ring) for ring in rings) == mask.sum()


@pytest.mark.parametrize("mask", MASKS, ids=range(len(MASKS)))
def test_through_the_middles(mask: Mask) -> None:
    parts = outlines(mask, middles=True)
    whole = np.zeros(mask.shape, bool)
    for part in parts:
        drawn = fill_with_border([part.outer, *part.holes], mask.shape)
        assert (fill_with_border([part.keyhole], mask.shape) == drawn).all()
        assert not (whole & drawn).any()
        whole |= drawn
    assert (whole == mask).all()


@pytest.mark.parametrize("mask", MASKS[::3], ids=range(len(MASKS[::3])))
def test_pycocotools_and_opencv_draw_the_same(mask: Mask) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    cv2 = pytest.importorskip("cv2")
    parts = outlines(mask)
    if parts:
        flat = [part.keyhole.ravel().tolist() for part in parts]
        drawn = coco.decode(coco.merge(coco.frPyObjects(flat, *mask.shape)))
        assert (drawn.astype(bool) == mask).all()
    canvas = np.zeros(mask.shape, np.uint8)
    for part in outlines(mask, middles=True):
        cv2.fillPoly(canvas, [part.keyhole.astype(np.int32)], 1)
    assert (canvas.astype(bool) == mask).all()


@pytest.mark.parametrize("mask", MASKS, ids=range(len(MASKS)))
def test_simple_polygons_touch_nowhere_twice(mask: Mask) -> None:
    for part in outlines(mask):
        outer, *holes = part.simple()
        assert area(outer) > 0
        assert all(area(hole) < 0 for hole in holes)
        for ring in (outer, *holes):
            assert len(np.unique(ring, axis=0)) == len(ring)
        assert (
            fill([outer, *holes], mask.shape) == fill([part.outer, *part.holes], mask.shape)
        ).all()


def area(ring: npt.NDArray[np.int64]) -> int:
    x, y = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) // 2


def test_parts_and_holes_are_counted() -> None:
    mask = np.zeros((20, 20), bool)
    mask[1:10, 1:10] = True
    mask[3:5, 3:5] = mask[6:8, 6:8] = False
    mask[15, 15] = True
    first, second = outlines(mask)
    assert (len(first.outer), len(first.holes), len(second.holes)) == (4, 2, 0)
    assert second.outer.tolist() == [[15, 15], [16, 15], [16, 16], [15, 16]]
    assert outlines(mask, middles=True)[1].outer.tolist() == [[15, 15]]


def test_no_mask_has_no_outline() -> None:
    assert outlines(np.zeros((4, 5), bool)) == []
    assert not fill([], (4, 5)).any()


def test_filling_cuts_what_lies_outside() -> None:
    ring = np.array([(-1e6, -1e6), (1e6, -1e6), (1e6, 3.5), (-1e6, 3.5)])
    assert fill([ring], (6, 5)).sum(axis=1).tolist() == [5, 5, 5, 0, 0, 0]
    assert fill_with_border([np.array([(-5, 2), (50, 2)])], (6, 5)).sum() == 5


def test_half_pixels_belong_to_one_side() -> None:
    left = np.array([(0, 0), (2.5, 0), (2.5, 4), (0, 4)])
    right = np.array([(2.5, 0), (6, 0), (6, 4), (2.5, 4)])
    first, second = fill([left], (4, 6)), fill([right], (4, 6))
    assert not (first & second).any()
    assert (first | second).all()


def test_fill_near_pycocotools_for_any_polygon() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    for _ in range(40):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radius = rng.uniform(20, 45, 12)
        ring = np.stack([50 + radius * np.cos(angles), 50 + radius * np.sin(angles)], axis=1)
        theirs = coco.decode(coco.frPyObjects([ring.ravel().tolist()], 100, 100))[:, :, 0] > 0
        ours = fill([ring], (100, 100))
        assert (theirs & ours).sum() / (theirs | ours).sum() > 0.95


def test_joined_rings_reach_each_other() -> None:
    mask = np.zeros((12, 30), bool)
    mask[2:6, 2:6] = mask[4:9, 10:15] = mask[1:3, 25:28] = True
    rings = [part.outer for part in outlines(mask)]
    assert (fill([joined(rings)], mask.shape) == mask).all()
    assert joined(rings[:1]) is rings[0]


def test_straight_lines_have_two_ends() -> None:
    ring = np.array([(0, 0), (1, 0), (2, 0), (2, 0), (2, 2), (1, 1)])
    assert without_straights(ring).tolist() == [[0, 0], [2, 0], [2, 2]]
    assert without_straights(np.array([(3, 4), (3, 4)])).tolist() == [[3, 4]]
