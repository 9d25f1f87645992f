"""Low-res logits of one view of an image on the grid of another view of it."""

from __future__ import annotations

import numpy as np

from samedge.pixels.frames import LOW_RES_STRIDE, MASK_PROMPT_LOGIT, View
from samedge.types import Array

_SAMPLES = 4
"""Places along each axis of a cell; it gets their mean, so that fine logits are averaged."""


def regridded(low_res: Array, *, source: View, target: View, mirrored: bool = False) -> Array:
    """Move logits from what one view shows to what another shows.

    Args:
        low_res: (M, m, m) logits of ``source``; m is S/4.
        source: a view of the image.
        target: another view of it, of the same frame.
        mirrored: ``source`` is of the image with its left and right exchanged.

    Returns:
        (M, m, m) float32 logits of ``target``; where ``source`` shows nothing, and in the padding,
        those of a pixel certainly not in the mask.
    """
    rows, row_seen = _axis(source, target, 0)
    columns, column_seen = _axis(source, target, 1, mirrored=mirrored)
    moved = rows @ np.asarray(low_res, np.float32) @ columns.T
    moved[:, ~(row_seen[:, None] & column_seen)] = -MASK_PROMPT_LOGIT
    return np.asarray(moved, np.float32)


def _axis(source: View, target: View, axis: int, *, mirrored: bool = False) -> tuple[Array, Array]:
    """(m, m) float32 weights along one axis, and which cells of ``target`` ``source`` shows."""
    side = target.frame.low_res_side
    cells = (np.arange(side * _SAMPLES) + 0.5) / _SAMPLES
    low, high = source.bounds[1 - axis], source.bounds[3 - axis]
    pixels = target.bounds[1 - axis] + cells * _pixels_a_cell(target, axis)
    there = source.original_size[axis] - pixels if mirrored else pixels
    places = (there - low) / _pixels_a_cell(source, axis) - 0.5
    matrix = _interpolation(places, source.low_res_size[axis], side)
    middles, there = (p.reshape(side, _SAMPLES).mean(axis=1) for p in (pixels, there))
    seen = (there >= low) & (there <= high) & (middles <= target.bounds[3 - axis])
    return matrix.reshape(side, _SAMPLES, side).mean(axis=1).astype(np.float32), seen


def _pixels_a_cell(view: View, axis: int) -> float:
    return LOW_RES_STRIDE * view.viewed_size[axis] / view.input_size[axis]


def _interpolation(places: Array, length: int, side: int) -> Array:
    """Linear interpolation at places among the first ``length`` of ``side`` cells, as a matrix."""
    inside = np.clip(places, 0, length - 1)
    low = np.minimum(inside.astype(np.int64), max(length - 2, 0))
    share = inside - low
    matrix = np.zeros((len(places), side))
    every = np.arange(len(places))
    matrix[every, low] = 1 - share
    matrix[every, np.minimum(low + 1, length - 1)] += share
    return matrix
