"""Polygons to masks, in the two ways that programs read them; see :mod:`samedge.pixels.outlines`.

Whatever a file says, these take memory for the mask and a bounded number of crossings only.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from samedge.types import Array, Size

_CROSSINGS_AT_ONCE = 4_000_000


def fill(rings: Sequence[Array], size: Size) -> npt.NDArray[np.bool_]:
    """Pixels whose middle lies inside an odd number of rings: holes stay holes.

    Args:
        rings: (N, 2) xy each, in pixels with whole numbers at pixels' corners; finite.
        size: ``(height, width)``; what lies outside is cut off.

    Returns:
        (H, W) bool.
    """
    height, width = size
    toggles = np.zeros(height * (width + 1), np.bool_)
    starts, ends = _edges(rings)
    first, last = _rows(starts[:, 1], ends[:, 1], height)
    for chosen in _chunks(last - first):
        places = _crossings(starts[chosen], ends[chosen], first[chosen], last[chosen], width)
        if len(places):
            low = int(places.min())
            odd = np.flatnonzero(np.bincount(places - low) & 1)
            toggles[odd + low] ^= True
    crossed = np.logical_xor.accumulate(toggles.reshape(height, width + 1), axis=1)
    return np.ascontiguousarray(crossed[:, :width])


def fill_with_border(rings: Sequence[Array], size: Size) -> npt.NDArray[np.bool_]:
    """What ``cv2.fillPoly`` draws: the inside by even and odd, and the lines themselves.

    Args:
        rings: (N, 2) xy each, columns and rows of pixels; rounded to whole ones.
        size: ``(height, width)``.
    """
    whole = [np.rint(np.asarray(ring, np.float64).reshape(-1, 2)) for ring in rings]
    mask = fill([ring + 0.5 for ring in whole], size)
    for ring in whole:
        columns, rows = _line_pixels(ring).T
        drawn = (columns >= 0) & (columns < size[1]) & (rows >= 0) & (rows < size[0])
        mask[rows[drawn], columns[drawn]] = True
    return mask


def _edges(rings: Sequence[Array]) -> tuple[Array, Array]:
    """Starts and ends of the edges of all rings, (E, 2) float64 each."""
    points = [np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings]
    if not points:
        return np.zeros((0, 2)), np.zeros((0, 2))
    following = [np.roll(ring, -1, axis=0) for ring in points]
    return np.concatenate(points), np.concatenate(following)


def _rows(first: Array, second: Array, height: int) -> tuple[Array, Array]:
    """Rows whose middle each edge crosses, as half-open ranges inside of the mask."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    start = np.ceil(np.clip(low, -1, height + 1) - 0.5).astype(np.int64)
    stop = np.ceil(np.clip(high, -1, height + 1) - 0.5).astype(np.int64)
    start = np.clip(start, 0, height)
    return start, np.maximum(np.clip(stop, 0, height), start)


def _chunks(counts: Array) -> list[slice]:
    """Ranges of edges that together cross a bounded number of rows."""
    if not len(counts):
        return []
    groups = np.cumsum(counts) // _CROSSINGS_AT_ONCE
    cuts = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(counts)]
    return [slice(low, high) for low, high in itertools.pairwise(cuts)]


def _crossings(starts: Array, ends: Array, first: Array, last: Array, width: int) -> Array:
    """Flat places, in rows of ``width + 1``, from which on each edge changes inside and outside."""
    counts = last - first
    edge = np.repeat(np.arange(len(counts)), counts)
    offsets = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = first[edge] + offsets
    (x0, y0), (x1, y1) = starts[edge].T, ends[edge].T
    x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
    columns = np.ceil(np.clip(x, -1, width + 1) - 0.5).astype(np.int64)
    return np.asarray(rows * (width + 1) + np.clip(columns, 0, width))


def _line_pixels(ring: Array) -> Array:
    """(P, 2) columns and rows of a closed ring's lines."""
    steps = np.roll(ring, -1, axis=0) - ring
    counts = np.minimum(np.abs(steps).max(axis=1), 1 << 17).astype(np.int64) + 1
    edge = np.repeat(np.arange(len(ring)), counts)
    offsets = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = offsets / np.maximum(counts - 1, 1)[edge]
    return np.asarray(np.floor(ring[edge] + steps[edge] * share[:, None] + 0.5), np.int64)
