"""Grey samples of any type as a picture of Pillow's, in the mode that holds them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from samedge.types import Array

_LEAST, _MOST = -(1 << 31), (1 << 31) - 1


def grey_picture(samples: Array) -> Image.Image:
    """The picture; whole numbers stay exact up to 32 bits, floats have 32.

    Args:
        samples: (H, W), whole or floating-point numbers, in any order of bytes.
    """
    if samples.dtype.kind == "f":
        return Image.fromarray(samples.astype(np.float32))
    low, high = int(samples.min()), int(samples.max())
    if low >= 0 and samples.dtype.itemsize == 1:
        return Image.fromarray(np.ascontiguousarray(samples.astype(np.uint8)))
    if low >= 0 and high <= 0xFFFF:
        return Image.fromarray(samples.astype(np.uint16))
    is_narrow = low >= _LEAST and high <= _MOST
    return Image.fromarray(samples.astype(np.int32 if is_narrow else np.float32))
