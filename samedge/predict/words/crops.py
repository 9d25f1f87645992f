"""Regions of an image as the region encoder takes them: square crops with the outside dimmed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from PIL import Image

from samedge.pixels import metrics
from samedge.pixels.boxes import Box
from samedge.types import Array

_GREY = 128
_GAP = 3.0  # a large crop is first reduced by whole steps to so many times its size


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
        return np.full((side, side, 3), _GREY, np.uint8)
    x0, y0, x1, y1 = square_around(own, enlarge=record.enlarge)
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x1, picture.width), min(y1, picture.height)
    scale = side / (x1 - x0)
    place = [round((left - x0) * scale), round((top - y0) * scale)]
    place += [round((right - x0) * scale), round((bottom - y0) * scale)]
    size = max(place[2] - place[0], 1), max(place[3] - place[1], 1)
    pixels = _resized(picture.crop((left, top, right, bottom)), size)
    inside = _resized(Image.fromarray(mask[top:bottom, left:right]).convert("L"), size)
    weight = record.outside + (1 - record.outside) * inside[..., None].astype(np.float32) / 255
    out = np.full((side, side, 3), _GREY, np.uint8)
    drawn = np.rint(_GREY + (pixels.astype(np.float32) - _GREY) * weight).astype(np.uint8)
    target = out[place[1] : place[1] + size[1], place[0] : place[0] + size[0]]
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
        picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=_GAP), dtype=np.uint8
    )
