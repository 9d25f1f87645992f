"""Dense motion between two small pictures, in NumPy.

Pyramidal, iterative least squares after B. Lucas and T. Kanade, "An iterative image registration
technique with an application to stereo vision" (1981), every pixel with a window of its own, and
smoothed after each iteration.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from samedge.types import Array


@dataclasses.dataclass(frozen=True)
class MotionSettings:
    """How dense motion is computed.

    Attributes:
        levels: pictures of the pyramid, each half as large as the one before.
        iterations: at each level.
        radius: of the window around each pixel, pixels of its level.
        smoothing: radius of the mean that smooths the motion after each iteration.
        damping: squared grey levels that keep flat parts still.
    """

    levels: int = 3
    iterations: int = 3
    radius: int = 4
    smoothing: int = 2
    damping: float = 8.0


def window_mean(values: Array, radius: int) -> Array:
    """Mean over a square window around each place; the border is continued.

    Args:
        values: (..., H, W) float32.
        radius: the window's side is twice that and one.
    """
    total = _window_sum(_window_sum(values, radius, axis=-1), radius, axis=-2)
    mean: Array = total / np.float32((2 * radius + 1) ** 2)
    return mean


def _window_sum(values: Array, radius: int, *, axis: Literal[-1, -2]) -> Array:
    """Sums along one axis: windows of 1, 2, 4, ... places, joined to the one that is wanted."""
    length, left = values.shape[axis], 2 * radius + 1
    window = _continued(values, radius, axis=axis)
    total, start, size = np.float32(0), 0, 1
    while True:
        if left & size:
            total = total + window[_part(axis, start, start + length)]
            start, left = start + size, left - size
        if not left:
            return np.asarray(total)
        window = window[_part(axis, 0, -size)] + window[_part(axis, size, None)]
        size *= 2


def _part(axis: Literal[-1, -2], start: int, stop: int | None) -> Any:
    """Index of some places along one axis; moving the axis costs more than adding does."""
    along = slice(start, stop)
    return (..., along) if axis == -1 else (..., along, slice(None))


def _continued(values: Array, radius: int, *, axis: Literal[-1, -2]) -> Array:
    """Values with so many more of the border's at both ends of an axis."""
    shape, length = list(values.shape), values.shape[axis]
    shape[axis] += 2 * radius
    wide: Array = np.empty(shape, values.dtype)
    wide[_part(axis, radius, radius + length)] = values
    wide[_part(axis, 0, radius)] = values[_part(axis, 0, 1)]
    wide[_part(axis, radius + length, None)] = values[_part(axis, length - 1, length)]
    return wide


def sampled(values: Array, rows: Array, *, columns: Array) -> Array:
    """Values between pixels, bilinear; places outside take the border's.

    Args:
        values: (H, W) or (H, W, C) float, H and W at least 2.
        rows: (...) places, pixel centres at whole numbers.
        columns: the same.

    Returns:
        (...) or (..., C).
    """
    height, width = values.shape[:2]
    rows = np.clip(rows, 0, height - 1.001)
    columns = np.clip(columns, 0, width - 1.001)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    down, right = rows - top, columns - left
    if values.ndim == 3:
        down, right = down[..., None], right[..., None]
    flat = values.reshape(height * width, *values.shape[2:])
    corner = top * width + left

    def along(start: Array) -> Array:
        first = flat.take(start, 0)
        between: Array = first + (flat.take(start + 1, 0) - first) * right
        return between

    above, below = along(corner), along(corner + width)
    result: Array = (above + (below - above) * down).astype(np.float32, copy=False)
    return result


def sampled_on_grid(values: Array, rows: Array, *, columns: Array) -> Array:
    """:func:`sampled` at every crossing of some rows and columns, to the bit.

    Args:
        values: (H, W) or (H, W, C) float, H and W at least 2.
        rows: (R,) places, pixel centres at whole numbers.
        columns: (Q,) the same.

    Returns:
        (R, Q) or (R, Q, C).
    """
    height, width = values.shape[:2]
    rows = np.clip(rows, 0, height - 1.001)
    columns = np.clip(columns, 0, width - 1.001)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    ones = (1,) * (values.ndim - 2)
    down, right = (rows - top).reshape(-1, 1, *ones), (columns - left).reshape(-1, *ones)
    first = values[:, left]
    across = first + (values[:, left + 1] - first) * right
    above = across[top]
    result: Array = (above + (across[top + 1] - above) * down).astype(np.float32, copy=False)
    return result


def places(height: int, width: int) -> tuple[Array, Array]:
    """Row and column of every pixel, (H, W) float32 each."""
    rows, columns = np.indices((height, width), np.float32)
    return rows, columns


def dense_motion(target: Array, source: Array, *, settings: MotionSettings) -> Array:
    """Where each pixel of one picture comes from in another.

    Args:
        target: (H, W) float32 grey, 0 to 255.
        source: the same shape.
        settings: of the computation.

    Returns:
        (H, W, 2) float32, rows and columns to add to a place in ``target`` to get its place in
        ``source``.
    """
    pairs = [(target, source)]
    while len(pairs) < settings.levels and min(pairs[-1][0].shape) >= 16:
        pairs.append((_halved(pairs[-1][0]), _halved(pairs[-1][1])))
    motion = np.zeros((*pairs[-1][0].shape, 2), np.float32)
    for level_target, level_source in reversed(pairs):
        if motion.shape[:2] != level_target.shape:
            rows, columns = (np.arange(side, dtype=np.float32) for side in level_target.shape)
            motion = 2 * sampled_on_grid(motion, (rows - 0.5) / 2, columns=(columns - 0.5) / 2)
        motion = _refined(motion, level_target, level_source, settings)
    return motion


def _halved(picture: Array) -> Array:
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    even, odd = picture[:height:2, :width], picture[1:height:2, :width]
    half: Array = ((even[:, ::2] + even[:, 1::2]) + (odd[:, ::2] + odd[:, 1::2])) / 4
    return half


def _refined(motion: Array, target: Array, source: Array, settings: MotionSettings) -> Array:
    rows, columns = places(*target.shape)
    slopes = np.stack([np.gradient(target, axis=0), np.gradient(target, axis=1)])
    products = np.stack([slopes[0] ** 2, slopes[1] ** 2, slopes[0] * slopes[1]])
    row_row, column_column, row_column = window_mean(products, settings.radius)
    row_row, column_column = row_row + settings.damping, column_column + settings.damping
    determinant = row_row * column_column - row_column * row_column
    for _ in range(settings.iterations):
        error = sampled(source, rows + motion[..., 0], columns=columns + motion[..., 1]) - target
        row_error, column_error = window_mean(slopes * error, settings.radius)
        down = (column_column * row_error - row_column * column_error) / determinant
        right = (row_row * column_error - row_column * row_error) / determinant
        better = np.stack([motion[..., 0] - down, motion[..., 1] - right])
        motion = np.moveaxis(window_mean(better, settings.smoothing), 0, -1)
    return motion
