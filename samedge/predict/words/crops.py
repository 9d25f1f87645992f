"""Regions of an image as the region encoder takes them: square crops with the outside dimmed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from PIL import Image

from samedge.pixels import metrics
from samedge.pixels.boxes import Box
from samedge.types import Array, Size

_GREY = 128
GAP = 3.0
"""A large crop is first reduced by whole steps to so many times its size."""


class CropRules(Protocol):
    """How far a crop reaches and what it shows, as a manifest or a model in training says."""

    @property
    def enlarge(self) -> float:
        """Side of the crop over the longer side of the region's box."""
        ...

    @property
    def outside(self) -> float:
        """Share of its contrast that is left of what is outside of the region."""
        ...


def region_crops(image: Array, masks: Iterable[Array], *, record: CropRules, side: int) -> Array:
    """Cut regions out.

    A crop is the square around a region's box, enlarged; what is outside of the region keeps only
    a share of its contrast, and what is outside of the image is grey.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: N of them, (H, W) bool; one without pixels gives a grey crop.
        record: says how far to enlarge and dim.
        side: of a crop, pixels.

    Returns:
        (N, side, side, 3) uint8 RGB.
    """
    picture = Image.fromarray(image)
    made = [_crop(picture, mask, record, side) for mask in masks]
    return np.stack(made) if made else np.zeros((0, side, side, 3), np.uint8)


def _crop(picture: Image.Image, mask: Array, record: CropRules, side: int) -> Array:
    own = metrics.bounding_box(mask)
    if own is None:
        return grey_crop(side)
    place = placed(own, (picture.height, picture.width), record=record, side=side)
    left, top, right, bottom = place.window
    pixels = _resized(picture.crop(place.window), place.size)
    inside = _resized(Image.fromarray(mask[top:bottom, left:right]).convert("L"), place.size)
    return dimmed(pixels, inside, place=place, record=record, side=side)


def grey_crop(side: int) -> Array:
    """The crop of a region without a pixel."""
    return np.full((side, side, 3), _GREY, np.uint8)


@dataclasses.dataclass(frozen=True)
class Placed:
    """What a crop shows of the image, and where in the crop that is.

    Attributes:
        window: part of the image.
        corner: ``(x, y)`` of its top left pixel in the crop.
        size: its ``(width, height)`` in the crop.
    """

    window: Box
    corner: tuple[int, int]
    size: tuple[int, int]

    @property
    def steps(self) -> tuple[int, int]:
        """By how many pixels ``(across, down)`` the window is reduced before it is sampled."""
        x0, y0, x1, y1 = self.window
        across, down = (x1 - x0) / self.size[0] / GAP, (y1 - y0) / self.size[1] / GAP
        return int(across) or 1, int(down) or 1


def placed(box: Box, size: Size, *, record: CropRules, side: int) -> Placed:
    """Where the crop of a region lies.

    Args:
        box: around the region.
        size: ``(height, width)`` of the image.
        record: says how far to enlarge.
        side: of a crop, pixels.
    """
    x0, y0, x1, y1 = square_around(box, enlarge=record.enlarge)
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x1, size[1]), min(y1, size[0])
    scale = side / (x1 - x0)
    corner = round((left - x0) * scale), round((top - y0) * scale)
    end = round((right - x0) * scale), round((bottom - y0) * scale)
    shown = max(end[0] - corner[0], 1), max(end[1] - corner[1], 1)
    return Placed((left, top, right, bottom), corner, shown)


def dimmed(pixels: Array, inside: Array, *, place: Placed, record: CropRules, side: int) -> Array:
    """The crop of a region from its window, both at the crop's size.

    Args:
        pixels: (h, w, 3) uint8 of the window.
        inside: (h, w) uint8 of the region in it, 255 inside.
        place: of the window in the crop.
        record: says how far to dim.
        side: of a crop, pixels.
    """
    weight = record.outside + (1 - record.outside) * inside[..., None].astype(np.float32) / 255
    out = grey_crop(side)
    drawn = np.rint(_GREY + (pixels.astype(np.float32) - _GREY) * weight).astype(np.uint8)
    (x, y), (width, height) = place.corner, place.size
    target = out[y : y + height, x : x + width]
    target[:] = drawn[: target.shape[0], : target.shape[1]]
    return out


def square_around(box: Box, *, enlarge: float) -> Box:
    """The square with a box's middle and its longer side, enlarged; whole pixels."""
    x0, y0, x1, y1 = box
    half = max(x1 - x0, y1 - y0) * enlarge / 2
    across, down = (x0 + x1) / 2, (y0 + y1) / 2
    left, top = round(across - half), round(down - half)
    length = max(round(2 * half), 1)
    return left, top, left + length, top + length


def _resized(picture: Image.Image, size: tuple[int, int]) -> Array:
    return np.asarray(
        picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=GAP), dtype=np.uint8
    )
