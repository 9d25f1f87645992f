"""Carries an object's logits from one frame to the next, by its motion in the pictures alone."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from samedge.tracking.geometry import INSIDE_LOGIT, Box, Grid, grey, patch, patch_size
from samedge.tracking.motion import dense_motion, sampled, sampled_on_grid
from samedge.tracking.settings import TrackerSettings
from samedge.types import Array, Size

_LEAST_PATCH = 8.0  # pixels of the image: smaller ones show no motion
_LEAST_SEEN = 0.5  # share of the object that must stay in the image for a move to be considered
_SQUARED_GREY = 30.0  # what a move of one object's length costs beside its error, squared levels


@dataclasses.dataclass(frozen=True, eq=False)
class Carried:
    """An object after one step.

    Attributes:
        logits: (h, w) float32 on the grid.
        velocity: ``(right, down)`` pixels of the image in this step.
    """

    logits: Array
    velocity: tuple[float, float]


def carried(
    logits: Array,
    before: Image.Image,
    *,
    after: Image.Image,
    grid: Grid,
    velocity: tuple[float, float],
    settings: TrackerSettings,
) -> Carried:
    """Move an object's logits along.

    First the whole object is searched for, then each pixel's motion around that place is computed.

    Args:
        logits: (h, w) float32 on the grid, in the frame before.
        before: RGB, the frame before.
        after: the same, this frame.
        grid: of the logits.
        velocity: ``(right, down)`` pixels of the last step.
        settings: of the tracker.
    """
    box = grid.box(logits)
    if box is None:
        return Carried(logits, velocity)
    move = displacement(
        before, after, box=box, logits=logits, grid=grid, velocity=velocity, settings=settings
    )
    pair = _windows(box, move, grid.image_size, settings)
    if pair is None:
        return Carried(_shifted(logits, move, grid), move)
    moved = _warped(logits, before, after, pair, grid=grid, settings=settings)
    now = grid.box(moved)
    if now is None:
        return Carried(moved, move)
    (x0, y0), (x1, y1) = box.center, now.center
    return Carried(moved, (x1 - x0, y1 - y0))


def displacement(
    before: Image.Image,
    after: Image.Image,
    *,
    box: Box,
    logits: Array,
    grid: Grid,
    velocity: tuple[float, float],
    settings: TrackerSettings,
) -> tuple[float, float]:
    """Move of an object as a whole: where its pixels differ least, ``(right, down)`` pixels.

    The sum of squared differences over the object's own pixels is three correlations, which are
    products of Fourier transforms.
    """
    reach = settings.search_reach
    window = box.grown(reach, pixels=16).inside(grid.image_size)
    size = patch_size(window, settings.search_side)
    weights = _certainty(logits, window, size, grid)
    if weights.sum() < 4:
        return velocity
    error = _squared_difference(
        patch(before, window, size=size), patch(after, window, size=size), weights
    )
    down = np.fft.fftfreq(error.shape[0], 1 / error.shape[0])[:, None] * window.height / size[0]
    right = np.fft.fftfreq(error.shape[1], 1 / error.shape[1])[None] * window.width / size[1]
    length = max(box.width, box.height)
    strain = ((right - velocity[0]) ** 2 + (down - velocity[1]) ** 2) / length**2
    cost = error * (1 + settings.search_stiffness * strain)
    cost = cost + _SQUARED_GREY * settings.search_stiffness * strain
    cost = np.where(
        (np.abs(right) < reach * length) & (np.abs(down) < reach * length), cost, np.inf
    )
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    if not np.isfinite(cost[row, column]):
        return velocity
    return float(right[0, column]), float(down[row, 0])


def _certainty(logits: Array, window: Box, size: Size, grid: Grid) -> Array:
    """How surely each pixel of a patch is the object, 0 to 1."""
    down, across = grid.scale
    rows = window.top + (np.arange(size[0]) + 0.5) * window.height / size[0]
    columns = window.left + (np.arange(size[1]) + 0.5) * window.width / size[1]
    there = sampled_on_grid(logits, rows * down - 0.5, columns=columns * across - 0.5)
    certainty: Array = 1 / (1 + np.exp(-there))
    return certainty


def _squared_difference(template: Array, picture: Array, weights: Array) -> Array:
    """Mean squared difference at every circular shift, with room so that nothing wraps."""
    shape = (2 * weights.shape[0], 2 * weights.shape[1])

    def spectrum(values: Array) -> Array:
        return np.fft.rfft2(values, shape, axes=(0, 1))

    def correlation(product: Array) -> Array:
        return np.fft.irfft2(product, shape, axes=(0, 1))

    mask = np.conj(spectrum(weights))
    total = float(weights.sum())
    cross = (spectrum(picture) * np.conj(spectrum(template * weights[..., None]))).sum(-1)
    seen = correlation(spectrum(np.ones_like(weights)) * mask)
    squares = correlation(spectrum((picture * picture).sum(-1)) * mask - 2 * cross)
    own = float(((template * template).sum(-1) * weights).sum())
    error = np.maximum(squares + own, 0) / total
    unseen: Array = np.where(seen > _LEAST_SEEN * total, error, np.inf)
    return unseen


def _windows(
    box: Box, move: tuple[float, float], size: Size, settings: TrackerSettings
) -> tuple[Box, Box] | None:
    """Equal windows around the object now and before, both inside the image."""
    now = box.moved(*move).grown(settings.motion_margin, pixels=_LEAST_PATCH)
    target = now.inside(size)
    source = target.moved(-move[0], -move[1]).inside(size)
    target = source.moved(*move).inside(size)
    if target.is_empty(_LEAST_PATCH):
        return None
    return target, target.moved(-move[0], -move[1]).inside(size)


def _warped(
    logits: Array,
    before: Image.Image,
    after: Image.Image,
    windows: tuple[Box, Box],
    *,
    grid: Grid,
    settings: TrackerSettings,
) -> Array:
    """Logits at the places that this frame's pixels come from; certainly outside elsewhere."""
    target, source = windows
    size = patch_size(target, settings.motion_side)
    motion = dense_motion(
        grey(patch(after, target, size=size)),
        grey(patch(before, source, size=size)),
        settings=settings.motion,
    )
    cells = grid.window(target)
    rows, columns = grid.image_places(cells)
    high, wide = target.height / size[0], target.width / size[1]
    there = sampled_on_grid(
        motion, (rows - target.top) / high - 0.5, columns=(columns - target.left) / wide - 0.5
    )
    rows = rows[:, None]
    down, across = grid.scale
    from_rows = rows + there[..., 0] * high + (source.top - target.top)
    from_columns = columns + there[..., 1] * wide + (source.left - target.left)
    result = np.full_like(logits, -INSIDE_LOGIT)
    result[cells] = sampled(logits, from_rows * down - 0.5, columns=from_columns * across - 0.5)
    return result


def _shifted(logits: Array, move: tuple[float, float], grid: Grid) -> Array:
    """Logits moved as a whole, where there is too little picture for anything else."""
    down, across = grid.scale
    rows, columns = np.indices(logits.shape, np.float32)
    rows, columns = rows - move[1] * down, columns - move[0] * across
    inside = (rows > -1) & (rows < logits.shape[0]) & (columns > -1) & (columns < logits.shape[1])
    shifted: Array = np.where(
        inside, sampled(logits, rows, columns=columns), np.float32(-INSIDE_LOGIT)
    )
    return shifted
