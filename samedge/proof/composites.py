"""Pictures with exact masks, made of photos at hand: as many as a decision needs.

Shapes filled from one photo, and objects cut out of annotated ones, are laid on a crop of another.
Where each lies is known to the pixel, so that two models can be held against the truth, and
neither against the other. The pictures are no photos: they tell two versions of a model apart, and
say nothing about how good it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

from samedge.evaluation.ground_truth import Instance
from samedge.pixels import metrics
from samedge.types import Array

_LONGEST = 512  # pixels of a picture's longest side
_OBJECTS = (4, 8)  # in one picture, the second excluded
_SIDES = (0.08, 0.5)  # of an object, as shares of the picture's shorter side
_CUTOUT = 256  # pixels of a cut out object's longest side
_FINER = 4  # shapes are drawn so much larger and reduced, for soft edges
_VISIBLE = 0.6  # share of an object that later ones may not cover
_SMALLEST = 64  # pixels that an object must show
_SLENDEREST = 8  # how many times as long as wide a background or a texture may be
_CONTRAST = 30.0  # of 255, between the mean colours of an object and of what it covers


@dataclasses.dataclass(frozen=True, eq=False)
class Cutout:
    """An object of a photo.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        alpha: (h, w) float in 0 to 1.
    """

    pixels: Array
    alpha: Array


def composites(
    photos: Sequence[Array], *, cutouts: Sequence[Cutout] = (), seed: int = 0
) -> Iterator[tuple[Array, list[Instance]]]:
    """Pictures and the objects in them, without end.

    Args:
        photos: (H, W, 3) uint8 RGB, at least one; backgrounds and textures are cut from them.
        cutouts: objects to lay down beside drawn shapes.
        seed: the same seed and photos give the same pictures.

    Yields:
        (H, W, 3) uint8 RGB, and instances with (H, W) bool masks.
    """
    random = np.random.default_rng(seed)
    while True:
        picture, instances = _scene(random, photos, cutouts)
        if instances:
            yield picture, instances


def cutout_of(picture: Array, mask: Array) -> Cutout:
    """An annotated object of a photo.

    Args:
        picture: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, not empty.
    """
    x0, y0, x1, y1 = metrics.bounding_box(mask) or (0, 0, *mask.shape[::-1])
    inside = (slice(y0, y1), slice(x0, x1))
    covered = np.where(mask[inside], np.uint8(255), np.uint8(0))
    return Cutout(reduced(picture[inside], _CUTOUT), reduced(covered, _CUTOUT) / np.float32(255))


def reduced(picture: Array, longest: int = 2 * _LONGEST) -> Array:
    """A copy of which no side is longer; what is smaller stays as it is.

    Args:
        picture: (H, W, 3) or (H, W) uint8.
        longest: pixels.
    """
    return _resized(picture, min(longest, max(picture.shape[:2])))


def _scene(
    random: np.random.Generator, photos: Sequence[Array], cutouts: Sequence[Cutout]
) -> tuple[Array, list[Instance]]:
    canvas = _resized(_crop(random, _any(random, photos), 0.5), _LONGEST).astype(np.float32)
    masks: list[Array] = []
    areas: list[int] = []
    for _ in range(int(random.integers(*_OBJECTS))):
        pixels, alpha = _object(random, photos, cutouts, shorter=min(canvas.shape[:2]))
        drawn = _laid(random, canvas, pixels, alpha)
        masks = [mask & ~drawn for mask in masks]
        masks.append(drawn)
        areas.append(int(drawn.sum()))
    picture = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    shown = [
        mask
        for mask, area in zip(masks, areas, strict=True)
        if mask.sum() >= max(_SMALLEST, _VISIBLE * area)
    ]
    return picture, [_instance(index, mask) for index, mask in enumerate(shown)]


def _instance(index: int, mask: Array) -> Instance:
    x0, y0, x1, y1 = map(float, metrics.bounding_box(mask) or (0, 0, 1, 1))
    return Instance(index, float(mask.sum()), (x0, y0, x1, y1), mask)


def _object(
    random: np.random.Generator,
    photos: Sequence[Array],
    cutouts: Sequence[Cutout],
    *,
    shorter: int,
) -> tuple[Array, Array]:
    """Pixels (h, w, 3) and alpha (h, w) of one object, float32."""
    side = int(shorter * np.exp(random.uniform(*np.log(_SIDES))))
    if cutouts and random.uniform() < 0.5:
        chosen = cutouts[int(random.integers(len(cutouts)))]
        pixels = _resized(chosen.pixels, side).astype(np.float32)
        covered = np.asarray(chosen.alpha * 255, np.uint8)
        alpha = _resized(covered, side).astype(np.float32) / 255.0
    else:
        alpha = _drawn(random, side)
        texture = _crop(random, _any(random, photos), 0.15)
        size = (alpha.shape[1], alpha.shape[0])
        pixels = np.asarray(
            Image.fromarray(texture).resize(size, Image.Resampling.BILINEAR), np.float32
        )
    if random.uniform() < 0.5:
        pixels, alpha = pixels[:, ::-1], alpha[:, ::-1]
    return _shaded(random, pixels), alpha


def _laid(random: np.random.Generator, canvas: Array, pixels: Array, alpha: Array) -> Array:
    """Blend an object into the canvas, in place; the (H, W) bool mask of what it covers."""
    height, width = canvas.shape[:2]
    rows, columns = alpha.shape
    top = int(random.integers(-rows // 8, max(height - rows * 7 // 8, 1)))
    left = int(random.integers(-columns // 8, max(width - columns * 7 // 8, 1)))
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + rows, height), min(left + columns, width)
    mask = np.zeros((height, width), np.bool_)
    if y1 <= y0 or x1 <= x0:
        return mask
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    place = canvas[y0:y1, x0:x1]
    share = alpha[inside][..., None]
    own = _contrasting(pixels[inside], place, share)
    place[...] = share * own + (1.0 - share) * place
    mask[y0:y1, x0:x1] = share[..., 0] > 0.5
    return mask


def _contrasting(own: Array, below: Array, share: Array) -> Array:
    """The object's pixels, shifted where its mean colour is that of what it covers."""
    weight = max(float(share.sum()), 1e-6)
    mean, beneath = ((pixels * share).sum((0, 1)) / weight for pixels in (own, below))
    gap = mean - beneath
    if float(np.abs(gap).mean()) >= _CONTRAST:
        return own
    direction = np.where(beneath < 127.5, 1.0, -1.0)  # where there is room
    return np.asarray(own + direction * _CONTRAST - gap)


def _shaded(random: np.random.Generator, pixels: Array) -> Array:
    """Light from one side, and another tint."""
    rows, columns = pixels.shape[:2]
    slope = random.uniform(-0.25, 0.25, 2)
    light = 1.0 + np.linspace(-1, 1, rows)[:, None] * slope[0]
    light = light + np.linspace(-1, 1, columns)[None] * slope[1]
    tint = random.uniform(0.8, 1.2, 3)
    return np.asarray(np.clip(pixels * light[..., None] * tint, 0, 255), np.float32)


def _drawn(random: np.random.Generator, side: int) -> Array:
    """Alpha (h, w) of a shape with soft edges, its longer side about ``side`` pixels."""
    shape = _SHAPES[int(random.integers(len(_SHAPES)))](random)
    turn = random.uniform(0, 2 * np.pi)
    across = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (shape * (1.0, random.uniform(0.35, 1.0))) @ across
    points -= points.min(axis=0)
    points *= side * _FINER / max(float(points.max()), 1e-6)
    size = np.maximum(np.ceil(points.max(axis=0) / _FINER).astype(int), 1)
    picture = Image.new("L", (int(size[0]) * _FINER, int(size[1]) * _FINER))
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in points], fill=255)
    small = picture.resize((int(size[0]), int(size[1])), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255.0


def _blob(random: np.random.Generator) -> Array:
    """A closed curve whose radius swings a few times around."""
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    waves = np.arange(1, 6)
    heights = random.normal(0, 0.25, 5) / waves**0.7
    phases = random.uniform(0, 2 * np.pi, 5)
    swing = heights[:, None] * np.cos(waves[:, None] * angles + phases[:, None])
    radius = np.maximum(1.0 + swing.sum(0), 0.2)
    return np.stack([np.cos(angles) * radius, np.sin(angles) * radius], 1)


def _polygon(random: np.random.Generator) -> Array:
    """Three to seven corners around a centre."""
    count = int(random.integers(3, 8))
    angles = (np.arange(count) + random.uniform(-0.3, 0.3, count)) * 2 * np.pi / count
    radius = random.uniform(0.6, 1.0, count)
    return np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]


def _ellipse(_: np.random.Generator) -> Array:
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _rectangle(_: np.random.Generator) -> Array:
    return np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


_SHAPES: tuple[Callable[[np.random.Generator], Array], ...] = (
    _blob,
    _blob,
    _polygon,
    _ellipse,
    _rectangle,
)


def _any(random: np.random.Generator, photos: Sequence[Array]) -> Array:
    return photos[int(random.integers(len(photos)))]


def _crop(random: np.random.Generator, photo: Array, least: float) -> Array:
    """A part of a photo of at least this share of its sides, perhaps mirrored.

    Of a strip, such as a line camera's, it is as long as leaves room for an object across.
    """
    height, width = photo.shape[:2]
    share = random.uniform(least, 1.0)
    rows, columns = max(int(height * share), 1), max(int(width * share), 1)
    rows, columns = min(rows, columns * _SLENDEREST), min(columns, rows * _SLENDEREST)
    top = int(random.integers(height - rows + 1))
    left = int(random.integers(width - columns + 1))
    part = photo[top : top + rows, left : left + columns]
    return np.ascontiguousarray(part[:, ::-1] if random.uniform() < 0.5 else part)


def _resized(picture: Array, longest: int) -> Array:
    """The picture with its longest side at so many pixels."""
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    found = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(found.resize(size, Image.Resampling.BILINEAR))
