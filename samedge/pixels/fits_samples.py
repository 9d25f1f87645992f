"""FITS, of which Pillow reads unscaled samples: signed ones are numbers above, and back to front.

Cameras of telescopes and microscopes store 16 bits without a sign as signed numbers and a card
``BZERO = 32768`` that says what to add. Pillow passes that over, so that the darker half of such
a picture comes out as the brighter one. See the FITS standard 4.0, 4.4.2 and 5.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from samedge.files import limits
from samedge.pixels.grey_pictures import grey_picture
from samedge.types import Array

START = b"SIMPLE"

logger = logging.getLogger(__name__)

_BLOCK, _CARD = 2880, 80
_MOST_CARDS = 1 << 16
_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_Cards = dict[str, str]


def opened(stream: BinaryIO, name: str) -> Image.Image | None:
    """The first picture of a FITS file, its lowest row at the bottom.

    Args:
        stream: the file.
        name: for the log: of a cube the first plane is read, which is said.

    Returns:
        The picture, decoded, in a mode that holds its samples; ``None`` where there is none that
        is not compressed, less of it than its header says, or more than a picture may have.
    """
    for cards in _headers(stream):
        axes = _axes(cards)
        kind = cards.get("XTENSION", "'IMAGE'").strip("' ")
        if len(axes) < 2 or not math.prod(axes) or kind != "IMAGE":
            continue
        dtype = np.dtype(_TYPES[int(cards["BITPIX"])])
        width, height = axes[:2]
        count, start = width * height, stream.tell()
        is_whole = stream.seek(0, os.SEEK_END) - start >= count * dtype.itemsize
        if not is_whole or count > limits.limit("image_pixels"):
            return None
        stream.seek(start)
        data = stream.read(count * dtype.itemsize)
        if math.prod(axes[2:]) > 1:
            logger.warning("%s holds %d planes; the first is read.", name, math.prod(axes[2:]))
        samples = np.frombuffer(data, dtype).reshape(height, width)[::-1]
        picture = grey_picture(_scaled(samples, cards))
        picture.format = "FITS"
        return picture
    return None


def _headers(stream: BinaryIO) -> Iterator[_Cards]:
    """The cards of each part of the file, which stands at that part's data meanwhile."""
    size, at = stream.seek(0, os.SEEK_END), 0
    while at < size:
        stream.seek(at)
        cards: _Cards = {}
        for _ in range(_MOST_CARDS):
            card = stream.read(_CARD).decode("latin-1")
            key = card[:8].strip()
            if key == "END" or len(card) < _CARD:
                break
            if card[8:10] == "= ":
                cards[key] = card[10:].split("/")[0].strip()
        start = _whole_blocks(stream.tell())
        stream.seek(start)
        yield cards
        count = math.prod(_axes(cards)) + int(cards.get("PCOUNT", 0))
        length = count * int(cards.get("GCOUNT", 1)) * abs(int(cards["BITPIX"])) // 8
        at = start + _whole_blocks(max(0, length))


def _whole_blocks(length: int) -> int:
    return -(-length // _BLOCK) * _BLOCK


def _axes(cards: _Cards) -> list[int]:
    count = int(cards["NAXIS"])
    return [int(cards[f"NAXIS{axis}"]) for axis in range(1, count + 1)] or [0]


def _scaled(samples: Array, cards: _Cards) -> Array:
    """The values that samples stand for: whole numbers stay such where nothing is multiplied."""
    zero, scale = float(cards.get("BZERO", 0)), float(cards.get("BSCALE", 1))
    if (zero, scale) == (0.0, 1.0):
        return samples
    if samples.dtype.kind in "ui" and scale == 1 and zero.is_integer() and abs(zero) < 1 << 62:
        return samples.astype(np.int64) + int(zero)
    return samples.astype(np.float64) * scale + zero
