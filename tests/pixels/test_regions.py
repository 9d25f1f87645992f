"""Regions to look at again: around a thing, inside of the image, shared by neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.errors import OptionError
from samedge.pixels.regions import (
    Extent,
    Surroundings,
    around_all,
    cut_to,
    longest_side,
    shared_regions,
    shows,
    square_region,
    zoom,
)

AROUND = Surroundings(context=2.5, tightest=2.0, widest=4.5, least_px=64)
SIZE = (480, 640)


def test_a_square_is_around_its_box_and_inside_of_the_image() -> None:
    assert square_region((100, 100, 140, 120), SIZE, side=100) == (70, 60, 170, 160)
    assert square_region((0, 0, 10, 10), SIZE, side=100) == (0, 0, 100, 100)
    assert square_region((630, 470, 640, 480), SIZE, side=100) == (540, 380, 640, 480)
    assert square_region((0, 0, 640, 480), SIZE, side=1000) == (0, 0, 640, 480)
    assert square_region((300, 200, 310, 210), SIZE, side=560) == (25, 0, 585, 480)


def test_zoom_says_how_much_larger_things_are() -> None:
    assert zoom((0, 0, 160, 160), SIZE) == 4
    assert zoom((0, 0, 640, 480), SIZE) == 1


@pytest.mark.parametrize("seed", range(5))
def test_every_box_is_shown_once_with_enough_around_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform((0, 0), (600, 440), (60, 2))
    sides = rng.uniform(4, 60, (60, 2))
    extents: dict[int, Extent] = {
        i: cut_to((*corner, *(corner + side)), SIZE)
        for i, (corner, side) in enumerate(zip(corners, sides, strict=True))
    }
    found = shared_regions(extents, SIZE, around=AROUND)
    assert sorted(i for part in found for i in part.members) == list(range(60))
    assert len(found) < 60
    for part in found:
        for i in part.members:
            assert shows(part.region, extents[i], size=SIZE, around=AROUND)


def test_neighbours_of_a_size_share_and_others_do_not() -> None:
    near = {0: (100.0, 100.0, 120.0, 120.0), 1: (125.0, 100.0, 145.0, 120.0)}
    assert len(shared_regions(near, SIZE, around=AROUND)) == 1
    far = {0: (100.0, 100.0, 120.0, 120.0), 1: (500.0, 300.0, 520.0, 320.0)}
    assert len(shared_regions(far, SIZE, around=AROUND)) == 2
    nested = {0: (100.0, 100.0, 300.0, 300.0), 1: (180.0, 180.0, 200.0, 200.0)}
    assert len(shared_regions(nested, SIZE, around=AROUND)) == 2


def test_a_region_too_wide_or_too_tight_does_not_show() -> None:
    box = (100.0, 100.0, 140.0, 140.0)
    assert shows((70, 70, 170, 170), box, size=SIZE, around=AROUND)
    assert not shows((90, 90, 150, 150), box, size=SIZE, around=AROUND)
    assert not shows((0, 0, 400, 400), box, size=SIZE, around=AROUND)


def test_boxes() -> None:
    assert longest_side((0, 0, 3, 7)) == 7
    assert around_all([(0, 5, 3, 7), (-1, 6, 2, 9)]) == (-1, 5, 3, 9)
    assert cut_to((-5, 3, 700, 900), SIZE) == (0, 3, 640, 480)


def test_silly_surroundings_are_refused() -> None:
    with pytest.raises(OptionError, match="expected 1 <= tightest <= context <= widest"):
        Surroundings(context=1.5, tightest=2.0)
