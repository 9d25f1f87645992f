"""Pictures part by part, as tiles read them: what is too large to be held is never held.

A picture within the limit ``image_pixels`` is read whole by Pillow and cut. A larger one, up to
``tiled_pixels``, is streamed by libvips (the extra ``tiles``): of a tiled TIFF the parts alone that
a tile needs; of TIFF in strips, JPEG and PNG, which can only be read from the top, as many rows as
a tile is high. The pixels are those that :func:`samedge.pixels.images.load_image` would give.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from samedge.errors import ImageError
from samedge.files import limits
from samedge.pixels.boxes import Box
from samedge.pixels.images import check_image, load_image, white_is_zero
from samedge.pixels.part_reading import Parts
from samedge.pixels.picture_files import opened_head, orientation
from samedge.pixels.sample_range import SampleRange, check_range
from samedge.types import Array, Size

_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_PLANAR, _SEPARATE = 284, 2
_COMPRESSION, _JPEG = 259, (6, 7)
_PHOTOMETRIC, _YCBCR = 262, 6


class _Whole(Parts):
    def __init__(self, image: Array) -> None:
        self.whole = image
        self.size = image.shape[0], image.shape[1]
        self._image = image

    def in_order(self, boxes: Sequence[Box]) -> list[Box]:
        return list(boxes)

    def read(self, box: Box) -> Array:
        x0, y0, x1, y1 = box
        return np.ascontiguousarray(self._image[y0:y1, x0:x1])

    def restart(self) -> None:
        """Nothing is read in any order."""


@contextlib.contextmanager
def opened_in_parts(source: Path | Array, *, sample_range: SampleRange = "auto") -> Iterator[Parts]:
    """Open a picture to be read part by part.

    Args:
        source: an image file, or an (H, W, 3) uint8 RGB array, which may be a ``numpy.memmap``.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.

    Yields:
        The picture; its parts cannot be read afterwards.

    Raises:
        ImageError: the file is no usable image, or too large and of a kind that has to be held.
        BackendUnavailableError: too large to be held, and libvips is not here.
        OptionError: ``sample_range`` is none.
    """
    wanted = check_range(sample_range)
    if not isinstance(source, str | os.PathLike):
        yield _Whole(check_image(source))
        return
    with opened_head(source) as picture:
        is_large = picture.width * picture.height > limits.limit("image_pixels")
        if is_large:
            from samedge.pixels.streamed_pictures import KINDS, Head, Streamed

            if picture.format not in KINDS:
                raise ImageError(
                    f"{source}, {picture.width}x{picture.height} px, is {picture.format}, and of "
                    f"pictures of that size {', '.join(KINDS)} are read: save it as a tiled TIFF, "
                    f"or raise the limit by SAMEDGE_LIMITS=image_pixels="
                    f"{picture.width * picture.height}."
                )
            head = Head(
                path=source,
                kind=picture.format,
                mode=_mode(picture),
                stored_size=_stored_size(picture),
                turn=orientation(picture),
                white_is_zero=white_is_zero(picture),
                is_apart=getattr(picture, "tag_v2", {}).get(_PLANAR) == _SEPARATE,
            )
    if not is_large:
        yield _Whole(load_image(source, range=wanted))
        return
    streamed = Streamed(head, wanted)
    try:
        yield streamed
    finally:
        streamed.close()


def _mode(picture: Image.Image) -> str:
    """Pillow's name for its colours as libvips will read them.

    A TIFF of YCbCr is RGB to Pillow where its own library decodes it; libvips has JPEG's turned
    into RGB alone.
    """
    tags = getattr(picture, "tag_v2", {})
    is_turned = tags.get(_PHOTOMETRIC) != _YCBCR or tags.get(_COMPRESSION) in _JPEG
    return picture.mode if is_turned else "YCbCr"


def _stored_size(picture: Image.Image) -> Size:
    """``(height, width)`` before it is turned; of a TIFF Pillow tells the upright size."""
    tags = getattr(picture, "tag_v2", None) if picture.format == "TIFF" else None
    if tags is None:
        return picture.height, picture.width
    return int(tags[_TIFF_HEIGHT]), int(tags[_TIFF_WIDTH])
