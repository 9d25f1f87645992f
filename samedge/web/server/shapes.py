"""Masks as the outlines that annotation tools draw: fewer vertices, in pixels or per cent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from samedge.pixels.outlines import outlines
from samedge.types import Array

_LEAST_SHARE = 0.01
"""Parts of a mask that are smaller than this share of its largest are left out of outlines."""


def rings(mask: npt.NDArray[np.bool_], *, fineness: float) -> list[Array]:
    """Outlines of a mask's parts, the largest first; holes are lost.

    Args:
        mask: (H, W) bool.
        fineness: how far a vertex may be off, as a share of the outline's length; 0 is exact.

    Returns:
        (N, 2) float64 each, xy pixels, whole numbers at pixels' corners; none for an empty mask.
    """
    found = [part.outer.astype(np.float64) for part in outlines(mask)]
    sizes = [_area(ring) for ring in found]
    least = max(sizes, default=0.0) * _LEAST_SHARE
    order = sorted(range(len(found)), key=lambda index: -sizes[index])
    kept = [found[index] for index in order if sizes[index] >= least]
    return [simplified(ring, tolerance=fineness * _length(ring)) for ring in kept]


def simplified(ring: Array, *, tolerance: float) -> Array:
    """A ring with fewer vertices (Douglas and Peucker, 1973).

    Args:
        ring: (N, 2).
        tolerance: how far a vertex that is left out may be from the new line, in px.
    """
    if tolerance <= 0 or len(ring) < 5:
        return ring
    far = int(np.square(ring - ring[0]).sum(axis=1).argmax())
    kept = np.zeros(len(ring) + 1, np.bool_)
    kept[[0, far, len(ring)]] = True
    closed = np.concatenate([ring, ring[:1]])
    waiting = [(0, far), (far, len(ring))]
    while waiting:
        start, stop = waiting.pop()
        if stop - start < 2:
            continue
        away = _distances(closed[start + 1 : stop], closed[start], closed[stop])
        place = int(away.argmax())
        if away[place] > tolerance:
            middle = start + 1 + place
            kept[middle] = True
            waiting += [(start, middle), (middle, stop)]
    found: Array = ring[kept[:-1]]
    return found if len(found) >= 3 else ring


def _distances(points: Array, start: Array, stop: Array) -> Array:
    """From a line between two points, or from the point where both are the same."""
    along = stop - start
    length = float(np.hypot(*along))
    away = points - start
    if not length:
        return np.asarray(np.hypot(away[:, 0], away[:, 1]))
    return np.asarray(np.abs(along[0] * away[:, 1] - along[1] * away[:, 0]) / length)


def _area(ring: Array) -> float:
    x, y = ring.T
    return abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) / 2


def _length(ring: Array) -> float:
    steps = np.roll(ring, -1, axis=0) - ring
    return float(np.hypot(steps[:, 0], steps[:, 1]).sum())
