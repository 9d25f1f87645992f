"""What an object looks like: the template of its first frame, and where it could be now."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

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


def _shares(index: Array, bins: int) -> Array:
    """Share of each colour, smoothed over neighbouring colours.

    Args:
        index: (N,) numbers of pixels' colours.
        bins: steps a channel.

    Returns:
        (bins ** 3,) float64, sums to 1; all 0 without pixels.
    """
    cube: Array = np.bincount(index, minlength=bins**3).reshape(bins, bins, bins).astype(np.float64)
    for axis in range(3):
        cube = _smoothed(cube, axis)
    total = cube.sum()
    flat: Array = cube.ravel() / total if total else cube.ravel()
    return flat


def _smoothed(cube: Array, axis: int) -> Array:
    """Each place with half of its neighbours along an axis; the border is continued."""
    values = np.moveaxis(cube, axis, 0)
    smooth = 2 * values
    smooth[1:] += values[:-1]
    smooth[:-1] += values[1:]
    smooth[0] += values[0]
    smooth[-1] += values[-1]
    return np.moveaxis(smooth / 4, 0, axis)


def _colour_index(picture: Array, bins: int) -> Array:
    """Number of each pixel's colour."""
    steps = np.minimum((picture * (bins / 256)).astype(np.int32), bins - 1)
    index: Array = (steps[..., 0] * bins + steps[..., 1]) * bins + steps[..., 2]
    return index


def sample(image: Image.Image, mask: Array, *, box: Box, bins: int) -> tuple[Array, Array]:
    """Colours inside a mask and around it.

    Args:
        image: RGB.
        mask: (H, W) bool.
        box: of the mask.
        bins: steps a channel.
    """
    window = box.grown(0.3).inside((mask.shape[0], mask.shape[1]))
    index, inside = _sampled(image, mask, window=window, bins=bins)
    return _shares(index[inside], bins), _shares(index[~inside], bins)


def _sampled(image: Image.Image, mask: Array, *, window: Box, bins: int) -> tuple[Array, Array]:
    """Colours of a window by their steps, and where they are inside a mask."""
    height, width = mask.shape
    size = patch_size(window, _SAMPLE_SIDE)
    rows = (window.top + (np.arange(size[0]) + 0.5) * window.height / size[0]).astype(np.int64)
    columns = (window.left + (np.arange(size[1]) + 0.5) * window.width / size[1]).astype(np.int64)
    inside = mask[np.ix_(np.minimum(rows, height - 1), np.minimum(columns, width - 1))]
    return _colour_index(patch(image, window, size=size), bins), inside


def evidence(image: Image.Image, known: Template, *, window: Box, size: Size, bins: int) -> Array:
    """How far each place's colour speaks for the object, -1 to 1.

    Args:
        image: RGB.
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


def fit(image: Image.Image, mask: Array, *, known: Template, window: Box, bins: int) -> float:
    """Mean chance that a pixel near an object is on the right side of its mask, by its colour.

    Args:
        image: RGB.
        mask: (H, W) bool.
        known: the object's template.
        window: where to look, inside the image.
        bins: steps a channel of the template.
    """
    index, inside = _sampled(image, mask, window=window, bins=bins)
    own = known.first + known.recent
    chance = ((own + 1e-5) / (own + 2 * known.around + 2e-5))[index]
    return float(np.where(inside, chance, 1 - chance).mean())


def template(image: Image.Image, mask: Array, *, box: Box, bins: int) -> Template:
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


def likely_box(image: Image.Image, known: Template, *, near: Box | None, bins: int) -> Box | None:
    """Where in the image the object's colours are densest, as a box of its last size.

    Args:
        image: RGB.
        known: its template.
        near: where it was last; of places that are nearly as good the nearer one is taken.
        bins: steps a channel of the template.
    """
    size: Size = (image.height, image.width)
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
