"""Masks as runs down columns: what tiles of a picture that is never held whole are compared by.

A mask of a gigapixel takes a gigabyte; its runs take a few kilobytes, in whatever frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samedge.pixels.boxes import Box
from samedge.pixels.rle import intervals_from_rle, rle_from_intervals
from samedge.types import Rle, Size

Places = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """The pixels of a mask, by column and then by row; no two runs of a column touch.

    Attributes:
        columns: (N,) of each run.
        tops: (N,) first row of each run.
        bottoms: (N,) the row behind each run.
    """

    columns: Places
    tops: Places
    bottoms: Places

    @property
    def area(self) -> int:
        """Pixels."""
        return int((self.bottoms - self.tops).sum())

    @property
    def box(self) -> Box:
        """Around the mask; zeros where it is empty."""
        if not len(self.columns):
            return 0, 0, 0, 0
        left, right = int(self.columns[0]), int(self.columns[-1]) + 1
        return left, int(self.tops.min()), right, int(self.bottoms.max())

    def inside(self, box: Box) -> Runs:
        """What of the mask lies in a box."""
        x0, y0, x1, y1 = box
        tops, bottoms = np.maximum(self.tops, y0), np.minimum(self.bottoms, y1)
        kept = (tops < bottoms) & (self.columns >= x0) & (self.columns < x1)
        return Runs(self.columns[kept], tops[kept], bottoms[kept])

    def drawn(self, box: Box) -> npt.NDArray[np.bool_]:
        """(h, w) bool, the pixels of a box that are in the mask."""
        x0, y0, x1, y1 = box
        found = np.zeros((y1 - y0, x1 - x0), np.bool_)
        part = self.inside(box)
        rows = zip(part.columns - x0, part.tops - y0, part.bottoms - y0, strict=True)
        for column, start, stop in rows:
            found[start:stop, column] = True
        return found

    def common(self, other: Runs) -> int:
        """Pixels that are in both masks."""
        if not len(self.columns) or not len(other.columns):
            return 0
        stride = _stride((self, other))
        starts, ends = _intervals(self, stride)
        return int((_covered(other, ends, stride) - _covered(other, starts, stride)).sum())

    def rle(self, size: Size) -> Rle:
        """The mask as COCO run lengths.

        Args:
            size: ``(height, width)`` of the picture that it lies in.
        """
        return rle_from_intervals(*_intervals(self, size[0]), size=size)


def runs_from_rle(rle: Mapping[str, Any], *, corner: tuple[int, int] = (0, 0)) -> Runs:
    """The runs of a mask in the frame of a picture that its image is a part of.

    Args:
        rle: of the mask, compressed or not.
        corner: ``(x, y)`` of the image's top left pixel in the picture.

    Raises:
        DatasetError: runs that do not fill the size.
    """
    height = rle["size"][0]
    starts, ends = intervals_from_rle(rle)
    first, last = starts // max(height, 1), (ends - 1) // max(height, 1)
    counts = last - first + 1  # of columns; a run that reaches the last row may go on in the next
    source = np.repeat(np.arange(len(starts)), counts)
    columns = first[source] + np.arange(len(source)) - np.repeat(counts.cumsum() - counts, counts)
    tops = np.maximum(starts[source] - columns * height, 0)
    bottoms = np.minimum(ends[source] - columns * height, height)
    return Runs(columns + corner[0], tops + corner[1], bottoms + corner[1])


def union(masks: Sequence[Runs]) -> Runs:
    """All pixels of several masks; at least one."""
    stride = _stride(masks)
    pairs = [_intervals(mask, stride) for mask in masks]
    starts, ends = (np.concatenate(part) for part in zip(*pairs, strict=True))
    order = np.argsort(starts, kind="stable")
    starts, reached = starts[order], np.maximum.accumulate(ends[order])
    fresh = np.r_[True, starts[1:] > reached[:-1]][: len(starts)]
    columns, tops = np.divmod(starts[fresh], stride)
    bottoms = reached[np.r_[fresh[1:], True][: len(starts)]] - columns * stride
    return Runs(columns, tops, bottoms)


def _stride(masks: Sequence[Runs]) -> int:
    """A height with room between columns."""
    return 1 + max(int(mask.bottoms.max(initial=0)) for mask in masks)


def _intervals(mask: Runs, stride: int) -> tuple[Places, Places]:
    return mask.columns * stride + mask.tops, mask.columns * stride + mask.bottoms


def _covered(mask: Runs, places: Places, stride: int) -> Places:
    """(P,) how many pixels of a mask lie before each place."""
    starts, ends = _intervals(mask, stride)
    before = np.concatenate([[0], np.cumsum(ends - starts)])
    number = np.searchsorted(starts, places, side="right")
    inside = np.maximum(ends[number - 1] - places, 0)  # of the last run that has begun
    return np.asarray(before[number] - np.where(number > 0, inside, 0), np.int64)
