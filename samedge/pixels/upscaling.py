"""Interpolation of low-res logits as small banded matrices, one an axis.

SAM upscales in two steps and cuts the padding off between them. Both are linear and separable, so
that their product is one small matrix an axis; nothing of the size of the padded input is made.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from samedge.types import Array

# Products of at most so many rows stay in the cache and below the size at which OpenBLAS starts
# threads. Threads cost more than they give here: the backend's own still hold the cores, and beside
# them 64 rows took ten times as long as 16.
_BAND = 16


class Axis(NamedTuple):
    """Upscaling along one axis: an (n, m) float32 matrix, and where each row's weights lie."""

    matrix: Array
    first: Array  # (n,) column of the first weight
    last: Array  # (n,) one past the column of the last weight


Axes = tuple[Axis, Axis]
"""Of the rows and of the columns."""

_Band = tuple[slice, Array, int, int]


@functools.lru_cache(maxsize=64)
def padded_axis(side: int, original_length: int, *, target_length: int, input_length: int) -> Axis:
    """SAM's upscaling: interpolate to S, cut the padding off, interpolate to the original length.

    Args:
        side: logits along the axis.
        original_length: of the result.
        target_length: S, pixels.
        input_length: of the image inside the padded input, pixels.
    """
    first = _bilinear(side, target_length)[:input_length]
    return _axis(_bilinear(input_length, original_length) @ first)


@functools.lru_cache(maxsize=64)
def plain_axis(side: int, original_length: int) -> Axis:
    """One interpolation from ``side`` logits to the original length, as SAM 2 does."""
    return _axis(_bilinear(side, original_length))


def upscaled(low_res: Array, axes: Axes) -> Array:
    """Interpolate (M, m, m) logits to (M, H, W) float32."""
    rows, columns = axes
    size = len(rows.matrix), len(columns.matrix)
    result = np.empty((len(low_res), *size), np.float32)
    for logits, out in zip(low_res, result, strict=True):
        wide = _widened(logits, columns, 0, size[1])
        for part, band, first, last in _bands(rows, 0, size[0]):
            np.matmul(band, wide[first:last], out=out[part])
    return result


def cut_mask(logits: Array, axes: Axes, *, threshold: float, mask: Array) -> None:
    """Write the upscaled ``logits > threshold`` into ``mask``, which is all False.

    Interpolated values never exceed their neighbours, so only the rectangle around the logits above
    the threshold is computed; and it is computed in bands that stay in the processor's cache.

    Args:
        logits: (m, m).
        axes: from m to the mask's height, and to its width.
        threshold: logits above it are in the mask.
        mask: (H, W) bool.
    """
    rows, columns = axes
    positive = logits > threshold
    top, bottom = _touched(rows, np.any(positive, axis=1))
    left, right = _touched(columns, np.any(positive, axis=0))
    if top == bottom or left == right:
        return
    wide = _widened(logits, columns, left, right)
    for part, band, first, last in _bands(rows, top, bottom):
        np.greater(band @ wide[first:last], threshold, out=mask[part, left:right])


def _touched(axis: Axis, positive: Array) -> tuple[int, int]:
    """First and one past the last position with weight on any ``positive`` logit."""
    count = np.concatenate(([0], np.cumsum(positive)))
    hit = np.flatnonzero(count[axis.last] - count[axis.first])
    return (int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, 0)


def _widened(logits: Array, columns: Axis, left: int, right: int) -> Array:
    """Upscale the columns of (m, m) logits to positions ``left`` to ``right``."""
    wide = np.empty((len(logits), right - left), np.float32)
    for part, band, first, last in _bands(columns, left, right):
        np.matmul(logits[:, first:last], band.T, out=wide[:, part.start - left : part.stop - left])
    return wide


def _bands(axis: Axis, start: int, stop: int) -> Iterator[_Band]:
    """Cut rows ``start:stop`` of a banded matrix into pieces without the columns that are zero."""
    for top in range(start, stop, _BAND):
        bottom = min(top + _BAND, stop)
        first, last = int(axis.first[top]), int(axis.last[bottom - 1])
        yield slice(top, bottom), axis.matrix[top:bottom, first:last], first, last


def _axis(product: Array) -> Axis:
    matrix = product.astype(np.float32)
    matrix.setflags(write=False)  # shared by every caller
    filled = matrix != 0
    side = matrix.shape[1]
    return Axis(matrix, filled.argmax(axis=1), side - filled[:, ::-1].argmax(axis=1))


def _bilinear(length_in: int, length_out: int) -> Array:
    """Bilinear interpolation of one axis as a matrix, by torch's rule for align_corners=False."""
    source = (np.arange(length_out) + 0.5) * (length_in / length_out) - 0.5
    source = np.maximum(source, 0.0)
    low = np.minimum(source.astype(np.int64), length_in - 1)
    high = np.minimum(low + 1, length_in - 1)
    weight = source - low
    matrix = np.zeros((length_out, length_in))
    rows = np.arange(length_out)
    np.add.at(matrix, (rows, low), 1.0 - weight)
    np.add.at(matrix, (rows, high), weight)
    return matrix
