"""What an object looks like: the template of its first frame, and where it could be now."""

from __future__ import annotations

import dataclasses

import numpy as np

from samedge.tracking.geometry import Box, patch, patch_size
from samedge.types import Array, Size

_SAMPLE_SIDE = 64  # pixels of the patch that colours are counted in
_SEARCH_SIDE = 96


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
    """Colours of an object and of what is around it.

    Attributes:
        first: share of each colour in the first frame, flat.
        recent: the same of the last frames in which it was surely seen.
        around: of what is around it.
        size: ``(height, width)`` of its box, pixels.
    """

    first: Array
    recent: Array
    around: Array
    size: tuple[float, float]


def colours(picture: Array, weights: Array, *, bins: int) -> Array:
    """Share of each colour among weighted pixels, smoothed over neighbouring colours.

    Args:
        picture: (H, W, 3) float32, 0 to 255.
        weights: (H, W) of each pixel.
        bins: steps a channel.

    Returns:
        (bins ** 3,) float64, sums to 1; all 0 when the weights are.
    """
    index = _colour_index(picture, bins)
    counted = np.bincount(index.ravel(), weights.ravel(), minlength=bins**3)
    cube: Array = counted.reshape(bins, bins, bins)
    for axis in range(3):
        wide = np.pad(cube, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        low, high = (np.take(wide, range(start, start + bins), axis) for start in (0, 2))
        cube = (low + 2 * cube + high) / 4
    total = cube.sum()
    flat: Array = cube.ravel() / total if total else cube.ravel()
    return flat


def _colour_index(picture: Array, bins: int) -> Array:
    """Number of each pixel's colour."""
    steps = np.minimum((picture * (bins / 256)).astype(np.int32), bins - 1)
    index: Array = (steps[..., 0] * bins + steps[..., 1]) * bins + steps[..., 2]
    return index


def sample(image: Array, mask: Array, *, box: Box, bins: int) -> tuple[Array, Array]:
    """Colours inside a mask and around it.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool.
        box: of the mask.
        bins: steps a channel.
    """
    height, width = mask.shape
    window = box.grown(0.3).inside((height, width))
    size = patch_size(window, _SAMPLE_SIDE)
    rows = (window.top + (np.arange(size[0]) + 0.5) * window.height / size[0]).astype(np.int64)
    columns = (window.left + (np.arange(size[1]) + 0.5) * window.width / size[1]).astype(np.int64)
    inside = mask[np.ix_(np.minimum(rows, height - 1), np.minimum(columns, width - 1))]
    picture = patch(image, window, size=size)
    own = colours(picture, inside.astype(np.float64), bins=bins)
    return own, colours(picture, (~inside).astype(np.float64), bins=bins)


def evidence(image: Array, known: Template, *, window: Box, size: Size, bins: int) -> Array:
    """How far each place's colour speaks for the object, -1 to 1.

    Args:
        image: (H, W, 3) uint8.
        known: the object's template.
        window: where, inside the image.
        size: ``(height, width)`` of the result.
        bins: steps a channel of the template.
    """
    picture = patch(image, window, size=size)
    own = known.first + known.recent
    around = 2 * known.around
    balance: Array = (own - around) / (own + around + 1e-4)
    return balance[_colour_index(picture, bins)].astype(np.float32)


def fit(image: Array, mask: Array, *, known: Template, window: Box, bins: int) -> float:
    """Mean chance that a pixel near an object is on the right side of its mask, by its colour.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool.
        known: the object's template.
        window: where to look, inside the image.
        bins: steps a channel of the template.
    """
    height, width = mask.shape
    size = patch_size(window, _SAMPLE_SIDE)
    rows = (window.top + (np.arange(size[0]) + 0.5) * window.height / size[0]).astype(np.int64)
    columns = (window.left + (np.arange(size[1]) + 0.5) * window.width / size[1]).astype(np.int64)
    inside = mask[np.ix_(np.minimum(rows, height - 1), np.minimum(columns, width - 1))]
    index = _colour_index(patch(image, window, size=size), bins)
    own = known.first + known.recent
    chance = ((own + 1e-5) / (own + 2 * known.around + 2e-5))[index]
    return float(np.where(inside, chance, 1 - chance).mean())


def template(image: Array, mask: Array, *, box: Box, bins: int) -> Template:
    """What an object looks like in its first frame."""
    own, around = sample(image, mask, box=box, bins=bins)
    return Template(own, own, around, (box.height, box.width))


def similarity(known: Template, seen: Array, *, first_share: float) -> float:
    """How alike an object's colours are to its template's, 0 to 1 (Bhattacharyya's coefficient)."""
    mixed = first_share * known.first + (1 - first_share) * known.recent
    return float(np.sqrt(mixed * seen).sum())


def renewed(known: Template, seen: Array, *, around: Array, box: Box, rate: float) -> Template:
    """The template after a frame in which the object was surely seen."""
    return dataclasses.replace(
        known,
        recent=(1 - rate) * known.recent + rate * seen,
        around=(1 - rate) * known.around + rate * around,
        size=(box.height, box.width),
    )


def likely_box(image: Array, known: Template, *, near: Box | None, bins: int) -> Box | None:
    """Where in the image the object's colours are densest, as a box of its last size.

    Args:
        image: (H, W, 3) uint8.
        known: its template.
        near: where it was last; of places that are nearly as good the nearer one is taken.
        bins: steps a channel of the template.
    """
    size: Size = (image.shape[0], image.shape[1])
    whole = Box(0.0, 0.0, float(size[1]), float(size[0]))
    coarse = patch_size(whole, _SEARCH_SIDE)
    picture = patch(image, whole, size=coarse)
    index = _colour_index(picture, bins)
    ratio = known.first / (known.first + known.around + 1e-4)
    votes = ratio[index] - 0.5
    down, across = coarse[0] / size[0], coarse[1] / size[1]
    rows = min(coarse[0], max(2, round(known.size[0] * down)))
    columns = min(coarse[1], max(2, round(known.size[1] * across)))
    sums = np.pad(np.cumsum(np.cumsum(votes, 0), 1), ((1, 0), (1, 0)))
    inside = sums[rows:, columns:] - sums[:-rows, columns:]
    inside = inside - sums[rows:, :-columns] + sums[:-rows, :-columns]
    if near is not None:
        x, y = near.center
        at_row, at_column = np.indices(inside.shape)
        away = np.hypot(
            (at_row + rows / 2) / down - y, (at_column + columns / 2) / across - x
        ) / max(size)
        inside = inside * (1 - 0.3 * away)
    row, column = np.unravel_index(int(np.argmax(inside)), inside.shape)
    if inside[row, column] <= 0:
        return None
    left, top = column / across, row / down
    return Box(left, top, left + columns / across, top + rows / down).inside(size)
