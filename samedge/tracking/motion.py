"""Dense motion between two small pictures, in NumPy.

Pyramidal, iterative least squares after B. Lucas and T. Kanade, "An iterative image registration
technique with an application to stereo vision" (1981), every pixel with a window of its own, and
smoothed after each iteration. Windows are sums along rows and columns, so that their size costs
nothing.
"""

from __future__ import annotations

import dataclasses

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
        values: (H, W) float.
        radius: the window's side is twice that and one.
    """
    side = 2 * radius + 1
    padded = np.pad(values, ((radius + 1, radius), (radius + 1, radius)), mode="edge")
    rows = np.cumsum(padded, axis=0, dtype=np.float64)
    rows = rows[side:] - rows[:-side]
    both = np.cumsum(rows, axis=1)
    mean: Array = ((both[:, side:] - both[:, :-side]) / side**2).astype(np.float32)
    return mean


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
    above = flat[corner] * (1 - right) + flat[corner + 1] * right
    below = flat[corner + width] * (1 - right) + flat[corner + width + 1] * right
    result: Array = (above * (1 - down) + below * down).astype(np.float32)
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
            rows, columns = places(*level_target.shape)
            motion = 2 * sampled(motion, (rows - 0.5) / 2, columns=(columns - 0.5) / 2)
        motion = _refined(motion, level_target, level_source, settings)
    return motion


def _halved(picture: Array) -> Array:
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    half: Array = picture[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    return half


def _refined(motion: Array, target: Array, source: Array, settings: MotionSettings) -> Array:
    rows, columns = places(*target.shape)
    by_row, by_column = np.gradient(target)
    radius = settings.radius
    row_row = window_mean(by_row * by_row, radius) + settings.damping
    column_column = window_mean(by_column * by_column, radius) + settings.damping
    row_column = window_mean(by_row * by_column, radius)
    determinant = row_row * column_column - row_column * row_column
    for _ in range(settings.iterations):
        error = sampled(source, rows + motion[..., 0], columns=columns + motion[..., 1]) - target
        row_error = window_mean(by_row * error, radius)
        column_error = window_mean(by_column * error, radius)
        down = (column_column * row_error - row_column * column_error) / determinant
        right = (row_row * column_error - row_column * row_error) / determinant
        smooth = (motion[..., 0] - down, motion[..., 1] - right)
        motion = np.stack([window_mean(part, settings.smoothing) for part in smooth], axis=-1)
    return motion
