"""Files, bytes and arrays to the one picture format of samedge: (H, W, 3) uint8 RGB.

How a file becomes RGB, so that the same file gives the same masks everywhere:

* the orientation in EXIF is applied;
* grey is copied to three channels; a palette is looked up;
* transparency is dropped, not blended: the stored colours count, as in OpenCV's ``IMREAD_COLOR``;
* 16-bit samples keep their high byte; 1-bit becomes 0 and 255;
* CMYK, YCbCr, Lab and HSV go through Pillow's plain conversions, without a colour profile;
* of an animation the first frame counts;
* 32-bit integers are read as 16-bit samples where they fit, floating-point samples are refused:
  their range is nobody's agreement.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from samedge.errors import ImageError

Array = npt.NDArray[Any]

MAX_PIXELS = 89_478_485
"""Pictures in files may have so many pixels; the limit at which Pillow suspects an attack."""

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def load_image(source: str | os.PathLike[str] | bytes | Array | Image.Image) -> Array:
    """Read an image; the module's docstring says how each kind becomes RGB.

    Args:
        source: a path, the bytes of an image file, a Pillow image, or an (H, W, 3) uint8 RGB array,
            which is only checked.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        ImageError: missing, truncated, too large, or not an image.
    """
    if isinstance(source, np.ndarray):
        return np.ascontiguousarray(check_image(source))
    if isinstance(source, Image.Image):
        return _rgb_from_picture(source, "The Pillow image")
    if isinstance(source, bytes | bytearray | memoryview):
        return _read(io.BytesIO(source), f"The image of {len(source)} bytes")
    path = Path(source)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, expected an image file: name a file in it.")
    try:
        with path.open("rb") as stream:
            return _read(stream, str(path))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImageError(f"{path} cannot be read ({reason}): check the path.") from error


def check_image(image: Any) -> Array:
    """Return ``image`` if it is an (H, W, 3) uint8 array with at least one pixel.

    Raises:
        ImageError: it is not; the message says what it is and how to convert it.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"The image is a {type(image).__name__}, expected a NumPy array (H, W, 3) uint8 RGB: "
            "read files with samedge.load_image."
        )
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f"The image has shape {image.shape}, expected (H, W, 3) RGB: "
            "stack grey three times, drop alpha, move channels last."
        )
    if image.dtype != np.uint8:
        raise ImageError(
            f"The image has dtype {image.dtype}, expected uint8 in 0..255: "
            "scale floats by 255 and shift 16-bit samples right by 8."
        )
    if not image.size:
        raise ImageError(f"The image has shape {image.shape}, so no pixels: check how it was cut.")
    return image


def _read(stream: Any, name: str) -> Array:
    try:
        with Image.open(stream) as picture:
            return _rgb_from_picture(picture, name)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image in a format that Pillow reads: give JPEG, PNG, WebP or TIFF."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name} is too large, limit {MAX_PIXELS} pixels: downscale it first. ({error})"
        ) from error
    except Exception as error:  # a decoder meeting broken bytes raises whatever it likes
        raise ImageError(
            f"{name} is truncated or damaged ({error}): fetch or save the file again."
        ) from error


def _rgb_from_picture(picture: Image.Image, name: str) -> Array:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width}x{height} pixels, limit {MAX_PIXELS}: downscale it first, or give "
            "its pixels as an array."
        )
    if picture.mode == "F":
        raise ImageError(
            f"{name} has floating-point samples, expected integers: save it with 8 bits a channel."
        )
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in _SIXTEEN_BIT or upright.mode == "I":
        return _rgb_from_grey(np.asarray(upright), name)
    return check_image(np.array(upright.convert("RGB")))


def _rgb_from_grey(samples: Array, name: str) -> Array:
    """High bytes of 16-bit grey samples, three times."""
    if samples.size and not 0 <= samples.min() <= samples.max() <= 0xFFFF:
        raise ImageError(
            f"{name} has samples from {samples.min()} to {samples.max()}, expected at most 16 "
            "bits: save it with 8 bits a channel."
        )
    grey = (samples.astype(np.uint16) >> 8).astype(np.uint8)
    return check_image(np.repeat(grey[:, :, None], 3, axis=2))
