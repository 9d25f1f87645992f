"""What makes a pasted cut-out sit in its picture: soft edges, motion, light and shadow.

Cut-outs are (h, w, 4) uint8 with colours multiplied by alpha. Effects that change the alpha change
what the mask is cut from, so that masks stay exact; light and shadow change colours alone.
"""

from __future__ import annotations

import cv2
import numpy as np

from samedge.types import Array

_LEAST_SIDE = 8
"""Cut-outs with a shorter side than this, px, are not blurred: little of them would be left."""


def feathered(cutout: Array, rng: np.random.Generator) -> Array:
    """Soften the edge over a few pixels; the inside stays as sharp as it is."""
    if min(cutout.shape[:2]) < _LEAST_SIDE:
        return cutout
    sigma = float(rng.uniform(0.6, 2.0))
    framed = _framed(cutout, int(np.ceil(2 * sigma))).astype(np.float32)
    soft = cv2.GaussianBlur(framed, (0, 0), sigma)
    alpha = soft[..., 3:]
    own = framed[..., :3] / np.maximum(framed[..., 3:], 1.0)
    spread = soft[..., :3] / np.maximum(soft[..., 3:], 1.0)
    straight = np.where(framed[..., 3:] >= 1, own, spread)
    return _bytes(np.concatenate([straight * alpha, alpha], 2))


def moved(cutout: Array, rng: np.random.Generator) -> Array:
    """Blur along a line, as a thing that moves while the shutter is open."""
    side = min(cutout.shape[:2])
    if side < _LEAST_SIDE:
        return cutout
    length = float(rng.uniform(3, max(4.0, min(15.0, side / 3))))
    half = int(np.ceil(length / 2))
    angle = float(rng.uniform(0, np.pi))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for step in np.linspace(-length / 2, length / 2, 4 * half + 1):
        x, y = half + step * np.cos(angle), half + step * np.sin(angle)
        kernel[round(y), round(x)] += 1
    blurred = cv2.filter2D(_framed(cutout, half), -1, kernel / kernel.sum())
    return np.asarray(np.minimum(blurred, blurred[..., 3:]))


def matched(cutout: Array, under: Array, *, rng: np.random.Generator) -> Array:
    """Bring a cut-out's mean colour and contrast some of the way to the picture's around it.

    Args:
        cutout: the cut-out.
        under: (h, w, 3) uint8, the part of the picture that it comes to lie on.
        rng: how far.
    """
    if not under.size:
        return cutout
    pixels = cutout.astype(np.float32)
    alpha = pixels[..., 3:] / 255
    weight = max(float(alpha.sum()), 1.0)
    mean = pixels[..., :3].sum((0, 1)) / weight
    straight = pixels[..., :3] / np.maximum(alpha, 1 / 255)
    spread = np.sqrt(((straight - mean) ** 2 * alpha).sum((0, 1)) / weight).mean()
    ground = under.reshape(-1, 3).astype(np.float32)
    share = float(rng.uniform(0.2, 0.8))
    gain = (max(float(ground.std(0).mean()), 4.0) / max(float(spread), 4.0)) ** share
    gain = float(np.clip(gain, 0.5, 1.5))
    goal = mean + share * (ground.mean(0) - mean)
    lit = ((straight - mean) * gain + goal).clip(0, 255) * alpha
    return _bytes(np.concatenate([lit, pixels[..., 3:]], 2))


def cast_shadow(
    canvas: Array, cutout: Array, *, top: int, left: int, rng: np.random.Generator
) -> None:
    """Darken a picture, in place, where a cut-out would throw a soft shadow; no mask changes.

    Args:
        canvas: (H, W, 3) uint8.
        cutout: what throws it.
        top: row of the cut-out's first row in the picture.
        left: likewise its column.
        rng: source of direction, softness and strength.
    """
    side = max(cutout.shape[:2])
    sigma = max(0.8, side * float(rng.uniform(0.02, 0.08)))
    angle, reach = rng.uniform(0, 2 * np.pi), side * rng.uniform(0.03, 0.2)
    strength = float(rng.uniform(0.25, 0.7))
    margin = int(np.ceil(2 * sigma))
    dark = cv2.GaussianBlur(_framed(cutout[..., 3:], margin), (0, 0), sigma)
    top += round(reach * np.sin(angle)) - margin
    left += round(reach * np.cos(angle)) - margin
    rows, columns = overlap(canvas, dark, top=top, left=left)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = dark[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    through = 1 - part.astype(np.float32)[..., None] * (strength / 255)
    canvas[rows, columns] = _bytes(canvas[rows, columns] * through)


def unevenly_lit(canvas: Array, rng: np.random.Generator) -> Array:
    """A whole picture under light that falls off to one side, (H, W, 3) uint8."""
    height, width = canvas.shape[:2]
    angle, strength = rng.uniform(0, 2 * np.pi), float(rng.uniform(0.15, 0.5))
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    columns = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(np.cos(angle))
    colour = 1 + rng.uniform(-0.1, 0.1, 3).astype(np.float32)
    return _bytes(canvas * ((1 + strength * (rows + columns))[..., None] * colour))


def overlap(canvas: Array, part: Array, *, top: int, left: int) -> tuple[slice, slice]:
    """Rows and columns of a canvas that a part at a place covers; empty where it lies outside."""
    height, width = part.shape[:2]
    rows = slice(max(0, top), min(canvas.shape[0], top + height))
    columns = slice(max(0, left), min(canvas.shape[1], left + width))
    return rows, columns


def _framed(pixels: Array, margin: int) -> Array:
    return np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)))


def _bytes(pixels: Array) -> Array:
    return np.asarray((pixels + 0.5).clip(0, 255).astype(np.uint8))
