"""Files, bytes and arrays to the one picture format of samedge: (H, W, 3) uint8 RGB.

How a file becomes RGB, so that the same file gives the same masks everywhere:

* the orientation in EXIF is applied;
* grey is copied to three channels; a palette is looked up;
* transparency is dropped, not blended: the stored colours count, as in OpenCV's ``IMREAD_COLOR``;
* samples of more than eight bits, grey or colour, are scaled by their range
  (:mod:`samedge.pixels.sample_range`); 1-bit becomes 0 and 255;
* FITS is scaled by its own header; a camera's raw file is refused, its previews are not it;
* CMYK, YCbCr, Lab and HSV go through Pillow's plain conversions, without a colour profile; of
  16-bit CMYK and JPEG 2000 colours Pillow keeps the high byte alone;
* of an animation the first frame counts.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from samedge.errors import ImageError
from samedge.pixels import damage, deep_colours
from samedge.pixels.picture_files import decode, opened_picture, orientation, upright
from samedge.pixels.sample_range import SampleRange, check_range, eight_bits

Array = npt.NDArray[Any]

logger = logging.getLogger(__name__)

_SAMPLE_FORMAT, _UNSIGNED, _SIGNED = 339, 1, 2  # a TIFF tag
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # another
_STRIP_PIXELS = 1 << 20
_ROUNDING = 1e-3  # beyond 0 and 1, as interpolation leaves it
_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")


def load_image(
    source: str | os.PathLike[str] | bytes | BinaryIO | Array | Image.Image,
    *,
    range: SampleRange = "auto",  # noqa: A002 - the word for it, also on the command line
) -> Array:
    """Read an image; the module's docstring says how each kind becomes RGB.

    Args:
        source: a path, the bytes of an image file, a binary file that is open, a Pillow image, or
            an (H, W, 3) uint8 RGB array, which is only checked.
        range: which samples become black and white: ``"auto"``, ``"full"`` or ``(low, high)``; the
            rules are in :mod:`samedge.pixels.sample_range`.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        ImageError: missing, truncated, too large, or not an image.
        OptionError: ``range`` is none.
    """
    sample_range = check_range(range)
    if isinstance(source, np.ndarray):
        image = check_image(source)
        return np.ascontiguousarray(_ranged(image, sample_range, "The array"))
    with opened_picture(source) as (picture, name):
        return _rgb_from_picture(picture, name, sample_range)


def image_from_bgr(frame: Array) -> Array:
    """Turn an OpenCV frame into the RGB that samedge takes.

    Nothing in the pixels says which order they have: a BGR frame given as RGB is segmented with
    red and blue exchanged, a little worse and without an error.

    Args:
        frame: (H, W, 3) BGR, (H, W, 4) BGRA or (H, W) grey, uint8.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        ImageError: another shape or dtype.
    """
    match getattr(frame, "shape", None):
        case (_, _):
            frame = np.repeat(frame[:, :, None], 3, axis=2)
        case (_, _, 4):
            frame = frame[:, :, :3]
    return np.ascontiguousarray(check_image(frame)[:, :, ::-1])


def image_from_tensor(tensor: Any) -> Array:
    """Turn a PyTorch tensor, or what else a framework holds an image in, into samedge's RGB.

    Args:
        tensor: (3, H, W), (1, 3, H, W) or (H, W, 3), RGB: uint8, or floating-point from 0 to 1. A
            tensor of torch may be on any device and need gradients; JAX's, TensorFlow's, CuPy's and
            MLX's arrays are taken as NumPy sees them, and others by DLPack.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        ImageError: another shape, or values beyond 0 to 1, such as those of an image from which a
            mean was subtracted: give the image before that.
    """
    array = _detached(tensor)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        array = array.transpose(1, 2, 0)
    if array.dtype.kind == "f":
        low, high = float(array.min(initial=0.0)), float(array.max(initial=0.0))
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN is in no order
            raise ImageError(
                f"The tensor's values reach from {low:.4g} to {high:.4g}, expected 0 to 1: give "
                "the image before its mean is subtracted, or scale it by 1 / 255."
            )
        array = (array.clip(0, 1).astype(np.float32) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(check_image(array))


def _detached(tensor: Any) -> Array:
    """A tensor of any device as an array; PyTorch's are the ones that NumPy cannot take as is."""
    for step in ("detach", "cpu"):
        if hasattr(tensor, step):
            tensor = getattr(tensor, step)()
    if str(getattr(tensor, "dtype", "")) == "torch.bfloat16":  # which NumPy has not
        tensor = tensor.float()
    try:
        if hasattr(tensor, "__dlpack__") and not hasattr(tensor, "__array__"):
            return np.from_dlpack(tensor)
        array = np.asarray(tensor.get() if type(tensor).__module__ == "cupy" else tensor)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise ImageError(f"A {type(tensor).__name__} is no tensor of an image: {error}.") from error
    return array


def check_image(image: Any) -> Array:
    """Return ``image`` if it is an (H, W, 3) uint8 array with at least one pixel.

    Raises:
        ImageError: it is not; the message says what it is and how to convert it.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"The image is a {type(image).__name__}, expected a NumPy array (H, W, 3) uint8 RGB: "
            "read files with samedge.load_image, OpenCV frames with samedge.image_from_bgr, and "
            "tensors with samedge.image_from_tensor."
        )
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f"The image has shape {image.shape}, expected (H, W, 3) RGB: {_shape_hint(image.shape)}"
        )
    if image.dtype != np.uint8:
        raise ImageError(
            f"The image has dtype {image.dtype}, expected uint8 in 0..255: {_dtype_hint(image)}"
        )
    if not image.size:
        raise ImageError(f"The image has shape {image.shape}, so no pixels: check how it was cut.")
    return image


def _shape_hint(shape: tuple[int, ...]) -> str:
    match shape:
        case (3, _, _):
            return "its channels come first, move them last by image.transpose(1, 2, 0)."
        case (_, _, 4):
            return "drop its alpha by image[:, :, :3]."
        case (_, _) | (_, _, 1):
            return "stack grey three times by np.dstack([image] * 3)."
        case (_, _, _, 3) | (_, 3, _, _):
            return "it is a batch, give its images one by one."
    return "stack grey three times, drop alpha, move channels last."


def _dtype_hint(image: Array) -> str:
    if image.dtype.kind in "iu" and image.min(initial=0) >= 0 and image.max(initial=0) <= 255:
        return "its values fit, so give image.astype(np.uint8)."
    if image.dtype.kind == "f":
        low, top = float(np.nanmin(image, initial=0.0)), float(np.nanmax(image, initial=0.0))
        if low < 0.0 or np.isnan(image).any():
            return "it holds values below 0 or NaN: give the image before its mean is subtracted."
        if top <= 1.0:
            return "its floats reach 1 at most, so give (image * 255).round().astype(np.uint8)."
        if top <= 255.0:
            return "its floats reach 255 at most, so give image.round().astype(np.uint8)."
        return "its floats reach beyond 255, scale them first."
    if image.dtype == np.bool_:
        return "give image.astype(np.uint8) * 255."
    if image.dtype.kind not in "iu":
        return "it holds no samples: make numbers of it first."
    return (
        "shift samples of 16 bits right by 8, those of a 12-bit camera by 4; samedge.load_image "
        "measures the range of files."
    )


def load_stored(path: Path, *, range: SampleRange = "auto") -> Array:  # noqa: A002
    """As :func:`load_image` of a file, the way up in which its pixels are stored."""
    with opened_picture(path) as (picture, name):
        return _rgb_from_picture(picture, name, check_range(range), turn=1)


def _rgb_from_picture(
    picture: Image.Image, name: str, sample_range: SampleRange, *, turn: int | None = None
) -> Array:
    """The picture as it is turned; ``None``: as its EXIF says."""
    low = deep_colours.low_bytes(picture)
    is_rounded = deep_colours.white_may_be_black(picture)
    is_damaged = damage.is_damaged(picture)
    decode(picture)
    if is_damaged:
        logger.warning(
            "%s is damaged, as where a download or a card's copy stopped: what it lacks is grey, "
            "black or noise. Copy it again.",
            name,
        )
    turn = orientation(picture) if turn is None else turn
    turned = upright(picture, turn)
    if low is not None:
        high = np.asarray(turned.convert("RGB")).astype(np.uint16)
        samples = (high << 8) | np.asarray(upright(low, turn).convert("RGB"))
        return check_image(eight_bits(samples, sample_range=sample_range, name=name))
    if turned.mode in _DEEP_GREY or _is_signed(picture):
        grey = eight_bits(
            grey_samples(picture, turned),
            sample_range=sample_range,
            name=name,
            white_is_zero=white_is_zero(picture),
        )
        return check_image(np.repeat(grey[:, :, None], 3, axis=2))
    image = _rgb_in_strips(turned)
    if is_rounded and not image.all():
        logger.warning(
            "%s is JPEG 2000 with colours of more than 8 bits: Pillow, which decodes it, makes its "
            "brightest samples black. Save it as a 16-bit PNG or TIFF where it has white.",
            name,
        )
    return check_image(_ranged(image, sample_range, name))


def _ranged(image: Array, sample_range: SampleRange, name: str) -> Array:
    """Eight-bit samples stay as they are, unless somebody names a range."""
    if isinstance(sample_range, str):
        return image
    return eight_bits(image, sample_range=sample_range, name=name)


def white_is_zero(picture: Image.Image) -> bool:
    """Whether a TIFF's lowest deep sample is white; Pillow turns those of eight bits itself."""
    if picture.format != "TIFF" or picture.mode not in _DEEP_GREY:
        return False
    return getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _is_signed(picture: Image.Image) -> bool:
    """Whether it is a TIFF of signed grey, of which Pillow takes eight bits for unsigned."""
    kind = getattr(picture, "tag_v2", {}).get(_SAMPLE_FORMAT, (_UNSIGNED,))
    return picture.format == "TIFF" and picture.mode == "L" and kind[0] == _SIGNED


def grey_samples(picture: Image.Image, turned: Image.Image) -> Array:
    """(H, W) samples in the type that the file has, as far as Pillow tells.

    Args:
        picture: of one deep channel, or of signed grey, as it was opened.
        turned: the same, upright.
    """
    samples = np.asarray(turned)
    if _is_signed(picture):
        return samples.view(np.int8)
    tags = getattr(picture, "tag_v2", {})
    if samples.dtype == np.int32:
        if picture.format == "TIFF" and tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED:
            samples = samples.view(np.uint32)  # Pillow has no unsigned type of 32 bits
        if samples.min() >= 0 and samples.max() <= 0xFFFF:
            return samples.astype(np.uint16)
        if samples.dtype == np.int32 and samples.min() >= -0x8000 and samples.max() <= 0x7FFF:
            return samples.astype(np.int16)
    return samples


def _rgb_in_strips(picture: Image.Image) -> Array:
    """(H, W, 3) uint8, converted a few rows at a time, since Pillow's copies take much memory."""
    width, height = picture.size
    image = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // max(width, 1))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = picture.crop((0, top, width, bottom))
        if strip.mode == "La":  # which Pillow turns into nothing else
            strip = strip.convert("LA")
        elif strip.mode == "P" and "transparency" in strip.info:  # of which Pillow warns
            strip = strip.convert("RGBA")
        strip = strip.convert("RGB")
        image[top:bottom] = np.asarray(strip)
    return image
