"""Frames as cameras give them, brightness and colour apart, to an encoder without an RGB copy.

Of NV12, I420 and YUYV the planes are looked at where they lie. Only what the encoder takes, a few
hundred pixels a side, is turned into RGB.
"""

from __future__ import annotations

import dataclasses
import operator
from typing import Any, Final, Literal

import numpy as np

from samedge.errors import ImageError, OptionError
from samedge.pixels.resizing import EXACT, exact_resized, fast_resized, fast_resized_plane
from samedge.types import Array, Region, Size

YuvLayout = Literal["NV12", "I420", "YUYV"]
ColorMatrix = Literal["bt601", "bt709", "jpeg"]

_RED_BLUE: Final = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "jpeg": (0.299, 0.114)}
"""Shares of red and blue in brightness (ITU-R BT.601-7 and BT.709-6)."""

_NEUTRAL = 128.0
_BAND_ROWS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class YuvImage:
    """A frame with half as many colours a row as brightnesses, which predictors encode as it is.

    Attributes:
        brightness: (H, W) uint8, a view of the frame.
        blue, red: (H or H/2, W/2) uint8, how much bluer and redder than grey; views, too.
        matrix: how colours were made of red, green and blue.
    """

    brightness: Array
    blue: Array
    red: Array
    matrix: ColorMatrix = "bt601"

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(H, W, 3)``: of the RGB image that it stands for."""
        return (self.brightness.shape[0], self.brightness.shape[1], 3)

    def rgb(self, region: Region | None = None) -> Array:
        """The image, or a part of it, as (H, W, 3) uint8 RGB; each colour counts for its pixels.

        Args:
            region: ``(x0, y0, x1, y1)``, whole pixels.
        """
        x0, y0, x1, y1 = region or (0, 0, self.shape[1], self.shape[0])
        rows = self.shape[0] // self.blue.shape[0]
        columns = np.arange(x0, x1) // 2
        image = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        for top in range(y0, y1, _BAND_ROWS):
            bottom = min(top + _BAND_ROWS, y1)
            at = (np.arange(top, bottom) // rows)[:, None]
            colors = self.blue[at, columns], self.red[at, columns]
            band = _rgb(self.brightness[top:bottom, x0:x1], *colors, matrix=self.matrix)
            image[top - y0 : bottom - y0] = band
        return image

    def resized(self, size: Size, *, rule: str, region: Region | None = None) -> Array:
        """The image as an encoder sees it, (height, width, 3) uint8 RGB.

        Args:
            size: ``(height, width)`` to be.
            rule: ``fast`` looks at the planes; ``exact`` at an RGB copy, as SAM does.
            region: the part that is seen; it is copied.
        """
        if rule == EXACT or region is not None:
            resized = exact_resized if rule == EXACT else fast_resized
            return resized(self.rgb(region), size)
        planes = (self.brightness, self.blue, self.red)
        return _rgb(*(fast_resized_plane(plane, size) for plane in planes), matrix=self.matrix)


def image_from_yuv(
    frame: Any, layout: YuvLayout, *, size: Size | None = None, matrix: ColorMatrix = "bt601"
) -> YuvImage:
    """A camera's frame for :meth:`Predictor.encode`, without a copy of it.

    Args:
        frame: uint8 in any shape whose rows follow each other: a flat buffer or array with
            ``size``; or NV12 and I420 as OpenCV has them, (3/2 H, W), and YUYV as (H, W, 2).
        layout: ``NV12`` (brightness, then blue and red in turn), ``I420`` (three planes) or
            ``YUYV`` (two pixels in four bytes, also called YUY2).
        size: ``(height, width)`` of the image, where the shape does not say it.
        matrix: ``bt601`` as most cameras and OpenCV have it, ``bt709`` for high definition, both
            with brightness from 16 to 235; ``jpeg`` for BT.601 from 0 to 255.

    Raises:
        ImageError: an odd side, or as many bytes as no such frame has.
        OptionError: no such layout or matrix.
    """
    if layout not in ("NV12", "I420", "YUYV") or matrix not in _RED_BLUE:
        raise OptionError(
            f"The layout is {layout!r} and the matrix {matrix!r}, expected NV12, I420 or YUYV, and "
            f"{', '.join(_RED_BLUE)}."
        )
    data = _samples(frame)
    height, width = _size_of(data, layout) if size is None else _whole(size)
    expected = height * width * (4 if layout == "YUYV" else 3) // 2
    if data.dtype != np.uint8 or data.size != expected or min(height, width) < 1:
        raise ImageError(
            f"The {layout} frame holds {data.size} samples of {data.dtype}, expected {expected} of "
            f"uint8 for {width}x{height} pixels (width x height)."
        )
    if width % 2 or (height % 2 and layout != "YUYV"):
        raise ImageError(f"A {layout} frame of {width}x{height} pixels has an odd side.")
    return YuvImage(*_planes(data, layout, (height, width)), matrix=matrix)


def _samples(frame: Any) -> Array:
    try:
        return np.asarray(frame) if hasattr(frame, "dtype") else np.frombuffer(frame, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise ImageError(
            f"The frame is a {type(frame).__name__}, expected an array or a buffer of uint8."
        ) from error


def _whole(size: Size) -> Size:
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError) as error:
        raise ImageError(f"size is {size!r}, expected (height, width) in whole pixels.") from error
    return height, width


def _size_of(data: Array, layout: str) -> Size:
    """Height and width as the shape tells them; zeros where it does not."""
    match data.shape:
        case (height, width) if layout != "YUYV":
            return height * 2 // 3, width
        case (height, width, 2) if layout == "YUYV":
            return height, width
    return 0, 0


def _planes(data: Array, layout: str, size: Size) -> tuple[Array, Array, Array]:
    """Views of brightness, blue and red. A frame whose rows are padded was refused by its size."""
    height, width = size
    if layout == "YUYV":
        pairs = data.reshape(height, width // 2, 4)
        brightness = data.reshape(height, width, 2)[..., 0]
        return brightness, pairs[..., 1], pairs[..., 3]
    rows = data.reshape(height * 3 // 2, width)
    brightness, rest = rows[:height], rows[height:]
    if layout == "NV12":
        pairs = rest.reshape(height // 2, width // 2, 2)
        return brightness, pairs[..., 0], pairs[..., 1]
    blue, red = rest.reshape(2, height // 2, width // 2)
    return brightness, blue, red


def _rgb(brightness: Array, blue: Array, red: Array, *, matrix: str) -> Array:
    """(H, W, 3) uint8 of three planes of one size."""
    of_red, of_blue = _RED_BLUE[matrix]
    scale, black, colorful = (1.0, 0.0, 1.0) if matrix == "jpeg" else (255 / 219, 16.0, 255 / 224)
    y = (brightness.astype(np.float32) - np.float32(black)) * np.float32(scale)
    b = (blue.astype(np.float32) - np.float32(_NEUTRAL)) * np.float32(2 * colorful * (1 - of_blue))
    r = (red.astype(np.float32) - np.float32(_NEUTRAL)) * np.float32(2 * colorful * (1 - of_red))
    image = np.empty((*y.shape, 3), np.uint8)
    green = y - (b * np.float32(of_blue) + r * np.float32(of_red)) / np.float32(
        1 - of_red - of_blue
    )
    for channel, values in enumerate((y + r, green, y + b)):
        image[..., channel] = np.clip(values + np.float32(0.5), 0, 255)
    return image
