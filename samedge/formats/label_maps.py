"""Masks of one image as one picture of numbers: what VOC, DAVIS and COCO panoptic share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from samedge.errors import DatasetError
from samedge.files.writing import replacing
from samedge.formats.base import Writer
from samedge.formats.masks import MaskRecord
from samedge.pixels.picture_files import decode, opened_picture
from samedge.types import Array, Size

Colour = tuple[int, int, int]

_MOST_LABELS = 4096  # colours of one picture; a photograph has more
_UNNAMED = 1 << 16  # the first number of a colour that nobody named

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


def read_indexed(path: Path, colours: Mapping[Colour, int] | None = None) -> npt.NDArray[np.int64]:
    """(H, W) indices of a palette or grey PNG, or of one in the colours of the indices.

    Args:
        path: of the picture. CVAT's and datumaro's have the colours themselves.
        colours: their indices; ``None``: those of VOC's palette. Others get numbers of their own.

    Raises:
        ImageError: no readable picture.
        DatasetError: a picture of so many colours that they are no labels.
    """
    with opened_picture(path) as (picture, name):
        if picture.mode in ("P", "L", "1", "I", "I;16"):
            return np.asarray(picture, np.int64)
        decode(picture)
        rgb = np.asarray(picture.convert("RGB"), np.int64)
    codes = rgb @ np.array([1 << 16, 1 << 8, 1])
    used, places = np.unique(codes, return_inverse=True)
    if len(used) > _MOST_LABELS:
        raise DatasetError(
            f"{name} is in {len(used)} colours, expected a palette or grey PNG whose numbers are "
            "labels, or a colour for each label: convert it to indices first."
        )
    known = _voc_colours() if colours is None else colours
    triples = [(code >> 16, code >> 8 & 255, code & 255) for code in used.tolist()]
    is_grey = (rgb == rgb[..., :1]).all() and not all(triple in known for triple in triples)
    indices = [
        triple[0] if is_grey else known.get(triple, _UNNAMED + place if any(triple) else 0)
        for place, triple in enumerate(triples)
    ]
    return np.asarray(np.array(indices, np.int64)[places].reshape(codes.shape))


def _voc_colours() -> dict[Colour, int]:
    palette = voc_palette()
    triples = zip(palette[::3], palette[1::3], palette[2::3], strict=True)
    return {triple: index for index, triple in reversed(list(enumerate(triples)))}
