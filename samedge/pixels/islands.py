"""Small islands and holes of a mask, found and mended without an image library.

Gives what ``remove_small_regions`` of "Segment Anything"'s reference code gives: pieces that touch
at a side or a corner belong together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
_Numbers = npt.NDArray[np.int64]


def mended(mask: Mask, *, least_px: int) -> Mask:
    """A mask without small holes, then without small islands; the largest island always stays.

    Args:
        mask: (H, W) bool.
        least_px: holes and islands of fewer pixels go.
    """
    if least_px < 1 or not mask.any():
        return mask
    filled = mask | _small(~mask, least_px, spare_largest=False)
    return filled & ~_small(filled, least_px, spare_largest=True)


def _small(mask: Mask, least_px: int, *, spare_largest: bool) -> Mask:
    """The pixels of a mask's pieces that are smaller."""
    starts, ends = _runs(mask)
    if not len(starts):
        return np.zeros_like(mask)
    pieces = _pieces(starts, ends, mask.shape[1] + 2)
    areas = np.bincount(pieces, weights=ends - starts, minlength=len(starts))
    small = areas < least_px
    if spare_largest:
        small[int(areas.argmax())] = False
    return _drawn(starts[small[pieces]], ends[small[pieces]], mask.shape)


def _runs(mask: Mask) -> tuple[_Numbers, _Numbers]:
    """First and one past the last place of each run, counted along rows padded by two pixels."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded.ravel(), prepend=np.int8(0))
    return np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)


def _pieces(starts: _Numbers, ends: _Numbers, width: int) -> _Numbers:
    """The piece of each run, named by the number of its first run."""
    # Runs of the row above that touch a run, corners included, follow one another.
    first = np.searchsorted(ends, starts - width, side="left")
    past = np.searchsorted(starts, ends - width, side="right")
    counts = np.maximum(past - first, 0)
    below = np.repeat(np.arange(len(starts)), counts)
    above = np.repeat(first, counts) + _places(counts)
    label = np.arange(len(starts))
    while True:
        least = np.minimum(label[below], label[above])
        merged = label.copy()
        np.minimum.at(merged, label[below], least)
        np.minimum.at(merged, label[above], least)
        merged = merged[merged]
        if np.array_equal(merged, label):
            return label
        label = merged


def _places(counts: _Numbers) -> _Numbers:
    """0, 1, ... of each count, one after the other."""
    total = int(counts.sum())
    return np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)


def _drawn(starts: _Numbers, ends: _Numbers, shape: tuple[int, ...]) -> Mask:
    steps = np.zeros(shape[0] * (shape[1] + 2) + 1, np.int8)
    steps[starts], steps[ends] = 1, -1
    drawn: Mask = np.cumsum(steps[:-1], dtype=np.int8).reshape(shape[0], -1)[:, 1:-1] > 0
    return drawn
