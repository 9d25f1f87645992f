"""Crops of regions of a picture that is read part by part: those that all of it would give.

Pillow makes a large picture smaller by whole steps before it samples it. The steps of one part
need no pixels of another, so that a crop is read in blocks, and held with six times its side at
most, however large the region is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from samedge.pixels.boxes import Box
from samedge.pixels.part_reading import Parts
from samedge.pixels.runs import Runs, runs_from_rle
from samedge.predict.everything_masks import AutomaticMask
from samedge.predict.words.crops import CropRules, Placed, dimmed, grey_crop, placed
from samedge.types import Array


def part_crops(
    picture: Parts, regions: Sequence[AutomaticMask], *, record: CropRules, side: int, longest: int
) -> Iterator[tuple[int, Array]]:
    """Cut regions out, in the order in which the picture is read.

    Args:
        picture: open; it is read from its beginning.
        regions: of it.
        record: says how far to enlarge and dim.
        side: of a crop, pixels.
        longest: side of a block that is read at once, pixels; larger regions are read in several.

    Yields:
        The number of a region, and its crop as
        :func:`~samedge.predict.words.crops.region_crops` cuts it.

    Raises:
        ImageError: the file is damaged, or changed.
    """
    places = [placed(region.box, picture.size, record=record, side=side) for region in regions]
    wanted: dict[Box, list[int]] = {}
    left: dict[int, int] = {}
    for number, (region, place) in enumerate(zip(regions, places, strict=True)):
        blocks = _blocks(place, longest) if region.area else []
        left[number] = len(blocks)
        for block in blocks:
            wanted.setdefault(block, []).append(number)
        if not blocks:
            yield number, grey_crop(side)
    open_ones: dict[int, _Growing] = {}
    picture.restart()
    for block in picture.in_order(list(wanted)):
        pixels = picture.read(block)
        for number in wanted.pop(block):
            if number not in open_ones:
                open_ones[number] = _Growing(regions[number], places[number])
            open_ones[number].add(pixels, block)
            left[number] -= 1
            if not left[number]:
                crop = open_ones.pop(number)
                yield number, crop.drawn(record, side)


def _blocks(place: Placed, longest: int) -> list[Box]:
    """A crop's window in blocks of whole steps."""
    x0, y0, x1, y1 = place.window
    across, down = (max(longest // step, 1) * step for step in place.steps)
    return [
        (x, y, min(x + across, x1), min(y + down, y1))
        for y in range(y0, y1, down)
        for x in range(x0, x1, across)
    ]


class _Growing:
    """A crop whose blocks come one by one, in any order."""

    def __init__(self, region: AutomaticMask, place: Placed) -> None:
        self._place, self._runs = place, runs_from_rle(region.rle)
        (x0, y0, x1, y1), (across, down) = place.window, place.steps
        reduced = -(-(y1 - y0) // down), -(-(x1 - x0) // across)
        self._pixels = np.zeros((*reduced, 3), np.uint8)
        self._inside = np.zeros(reduced, np.uint8)

    def add(self, pixels: Array, block: Box) -> None:
        (left, top, _, _), (across, down) = self._place.window, self._place.steps
        x, y = (block[0] - left) // across, (block[1] - top) // down
        for whole, part in ((self._pixels, pixels), (self._inside, _drawn(self._runs, block))):
            small = _reduced(part, self._place.steps)
            whole[y : y + small.shape[0], x : x + small.shape[1]] = small

    def drawn(self, record: CropRules, side: int) -> Array:
        pixels, inside = self._sampled(self._pixels), self._sampled(self._inside)
        return dimmed(pixels, inside, place=self._place, record=record, side=side)

    def _sampled(self, reduced: Array) -> Array:
        (x0, y0, x1, y1), (across, down) = self._place.window, self._place.steps
        box = (0.0, 0.0, (x1 - x0) / across, (y1 - y0) / down)  # without what the last step lacks
        picture = Image.fromarray(reduced)
        sampled: Array = np.asarray(
            picture.resize(self._place.size, Image.Resampling.BILINEAR, box=box), np.uint8
        )
        return sampled


def _drawn(runs: Runs, block: Box) -> Array:
    inside: Array = runs.drawn(block).astype(np.uint8) * np.uint8(255)
    return inside


def _reduced(part: Array, steps: tuple[int, int]) -> Array:
    if steps == (1, 1):
        return part
    return np.asarray(Image.fromarray(part).reduce(steps), np.uint8)
