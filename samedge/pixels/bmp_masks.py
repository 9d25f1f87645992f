"""BMPs whose bits of red, green and blue stand in places that Pillow has no name for."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from samedge.types import Array

START = b"BM"
_HEAD_BYTES = 66  # with the masks, which follow the shortest header and stand in longer ones
_KINDS = (3, 6)  # bit fields, and bit fields with alpha
_TYPES: dict[int, np.dtype[Any]] = {16: np.dtype("<u2"), 32: np.dtype("<u4")}


def opened(stream: BinaryIO) -> Image.Image | None:
    """The picture, decoded; ``None`` where it is of another kind or cut. Its alpha is left out."""
    stream.seek(0)
    data = stream.read()
    if len(data) < _HEAD_BYTES:
        return None
    (start,) = struct.unpack_from("<I", data, 10)
    width, height, _, depth, kind = struct.unpack_from("<iiHHI", data, 18)
    masks = struct.unpack_from("<3I", data, 54)
    if kind not in _KINDS or depth not in _TYPES or width <= 0 or not height or not all(masks):
        return None
    stride = (width * depth // 8 + 3) // 4 * 4
    if len(data) < start + stride * abs(height):
        return None
    rows = np.frombuffer(data, np.uint8, stride * abs(height), start).reshape(abs(height), stride)
    pixels = rows[:, : width * depth // 8].view(_TYPES[depth])
    channels = [_eight_bits(pixels.astype(np.uint32), mask) for mask in masks]
    upright = np.stack(channels, axis=-1)[:: -1 if height > 0 else 1]
    picture = Image.fromarray(np.ascontiguousarray(upright))
    picture.format = "BMP"
    return picture


def _eight_bits(pixels: Array, mask: int) -> Array:
    """The bits of a mask as 0 to 255."""
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    values: Array = ((pixels & np.uint32(mask)) >> np.uint32(shift)).astype(np.uint64)
    scaled: Array = (values * 255 + most // 2) // most
    return scaled.astype(np.uint8)
