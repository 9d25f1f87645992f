"""Masks of one image as one picture of numbers: what VOC, DAVIS and COCO panoptic share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from samedge.errors import DatasetError
from samedge.files.writing import replacing
from samedge.formats.base import Writer
from samedge.formats.masks import MaskRecord
from samedge.pixels.picture_files import opened_picture
from samedge.types import Array, Size

VOID = 255
"""Index of pixels that belong to nobody, in Pascal VOC."""


def voc_palette() -> list[int]:
    """Pascal VOC's 256 colours, red, green and blue of each after the other."""
    colors = []
    for index in range(256):
        color, bits = [0, 0, 0], index
        for shift in range(7, -1, -1):
            for channel in range(3):
                color[channel] |= (bits >> channel & 1) << shift
            bits >>= 3
        colors += color
    return colors


def numbered(masks: Sequence[MaskRecord], size: Size, *, writer: Writer) -> npt.NDArray[np.int64]:
    """One number a pixel: 0 outside, else the place of its mask, from 1 on.

    Of masks that overlap the smallest is seen, so that a part stays visible on its whole.

    Args:
        masks: at most one number each.
        size: ``(height, width)``.
        writer: counts masks that lose pixels or are not seen at all.
    """
    numbers = np.zeros(size, np.int64)
    for place in sorted(range(len(masks)), key=lambda index: -masks[index].area):
        numbers[masks[place].mask] = place + 1
    seen = np.bincount(numbers.ravel(), minlength=len(masks) + 1)[1:]
    for count, record in zip(seen, masks, strict=True):
        if record.area and not count:
            writer.left_out["masks wholly under smaller ones"] += 1
        elif count < record.area:
            writer.changed["masks cut where smaller ones lie on them"] += 1
    return numbers


def save_indexed(path: Path, indices: Array) -> Path:
    """Write (H, W) indices below 256 as a PNG with VOC's palette.

    Raises:
        WriteError: it cannot be written.
    """
    picture = Image.fromarray(indices.astype(np.uint8))
    picture = picture.convert("P") if picture.mode != "P" else picture
    picture.putpalette(voc_palette())
    with replacing(path) as temporary:
        picture.save(temporary)
    return path


def read_indexed(path: Path) -> npt.NDArray[np.int64]:
    """(H, W) indices of a palette or grey PNG.

    Raises:
        ImageError: no readable picture.
        DatasetError: a picture of colours.
    """
    with opened_picture(path) as (picture, name):
        if picture.mode not in ("P", "L", "1", "I", "I;16"):
            raise DatasetError(
                f"{name} is a picture of mode {picture.mode}, expected a palette or grey PNG whose "
                "numbers are labels: convert its colours to indices first."
            )
        return np.asarray(picture, np.int64)
