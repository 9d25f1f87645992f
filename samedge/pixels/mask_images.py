"""Mask files: which pixels are inside, by what the file is.

Tools write masks in many ways; read as the wrong one, a mask is empty or inverted without a word.

=====================================  =========================================================
the file                               inside
=====================================  =========================================================
an alpha channel that varies           where it is opaque: more than half
a palette (Pascal VOC, DAVIS)          every index but 0; of two colours, the one that is not black
1 bit; highest value 1                 1
two values                             the higher one
few values, a label map                every label but 0; also colours on black
16 or 32 bits, 0 and areas of numbers  every label but 0, as many as there are
grey, nearly all black or white        above the middle
floating-point from 0 to 1             above the middle; whole numbers as above
=====================================  =========================================================

``value`` takes one palette index or label instead. A photograph, a mask without a pixel inside, a
mask of another size and colours without a black background are refused.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
from PIL import Image

from samedge.errors import ImageError
from samedge.pixels.images import grey_samples
from samedge.pixels.picture_files import decode, opened_picture, orientation, upright
from samedge.types import Array, Size

Mask = npt.NDArray[np.bool_]

_LABELS = 256  # as many different values can be labels; a photograph of 16 bits has more
_FEW = 32  # as many different grey values of 8 bits can be labels
_AREAS = 0.7  # of neighbours that are alike, where more labels than that can be
_WHITE, _DARK = 224, 32  # grey above and below these is white and black, but for a soft edge
_WHOLE = 2.0**31  # floating-point samples below it can be labels
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")  # which tint black and white a little
_SOFT_SHARE = 0.2
_FLAT_SHARE, _JUDGED_PIXELS = 0.5, 4096
_PHOTOGRAPH = (
    "it looks like a photograph, expected a mask: white on black, 0 and 1, labels, a palette, or "
    "an alpha channel"
)


def load_mask(
    source: str | os.PathLike[str] | bytes | Image.Image,
    *,
    size: Size | None = None,
    value: int | None = None,
) -> Mask:
    """Read a mask; the module's docstring says what is inside.

    Args:
        source: a path, the bytes of a picture file, or a Pillow image.
        size: ``(height, width)`` of the image that it belongs to; ``None`` takes any.
        value: the one palette index, label or grey level that is inside.

    Returns:
        (H, W) bool, upright like the image.

    Raises:
        ImageError: not a readable picture, not a mask, of another size, or nothing is inside.
    """
    inside, name = _read(source, value)
    if size is not None and inside.shape != size:
        raise ImageError(
            f"{name} is a mask of {inside.shape[0]} x {inside.shape[1]} (height x width), but the "
            f"image has {size[0]} x {size[1]}: give the mask that belongs to it, or resize it "
            "without interpolation."
        )
    if not inside.any():
        what = "it is black" if value is None else f"no pixel has the value {value}"
        raise ImageError(f"{name} is an empty mask, {what}: give one with an object in it.")
    return inside


def mask_from_picture(source: str | os.PathLike[str] | bytes | Image.Image) -> Mask:
    """As :func:`load_mask`, but a mask without a pixel inside is one as well.

    Raises:
        ImageError: not a readable picture, or not a mask.
    """
    return _read(source, None)[0]


def _read(
    source: str | os.PathLike[str] | bytes | Image.Image, value: int | None
) -> tuple[Mask, str]:
    """The mask, and the picture's name for messages."""
    with opened_picture(source) as (picture, name):
        decode(picture)
        turned = upright(picture, orientation(picture))
        return _inside(picture, turned, value, name), name


def _inside(picture: Image.Image, turned: Image.Image, value: int | None, name: str) -> Mask:
    if value is not None:
        return np.asarray(_one_channel(picture, turned, name) == value)
    if turned.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        alpha = np.asarray(turned.getchannel("A" if "A" in turned.mode else "a"))
        if alpha.size and alpha.min() != alpha.max():
            return np.asarray(alpha == 1 if alpha.max() == 1 else alpha > 127)
    if turned.mode in ("P", "PA"):
        return _from_palette(turned, name)
    samples = _samples(picture, turned)
    if samples.ndim == 3:
        return _from_colours(samples, name)
    if samples.dtype.kind == "f":
        return _from_floats(samples, name)
    return _from_values(samples, name)


def _samples(picture: Image.Image, turned: Image.Image) -> Array:
    """(H, W) of one channel, or (H, W, 3) where the channels differ."""
    if turned.mode in ("1", "L"):
        return np.asarray(turned, np.uint8)
    if turned.mode.startswith("I") or turned.mode == "F":
        return grey_samples(picture, turned)
    rgb = np.asarray(turned.convert("RGB"))
    if picture.format in _LOSSY and np.ptp(rgb, axis=2).max(initial=0) <= _DARK:
        return np.asarray(turned.convert("L"))
    grey = rgb[..., 0]
    return grey if (rgb == grey[..., None]).all() else rgb


def _one_channel(picture: Image.Image, turned: Image.Image, name: str) -> Array:
    if turned.mode in ("P", "PA"):
        return np.asarray(turned.getchannel(0))
    samples = _samples(picture, turned)
    if samples.ndim == 3:
        raise ImageError(
            f"{name} is in colour, so no pixel has a single value: leave the value out, or save it "
            "as grey or with a palette."
        )
    return samples


def _from_palette(turned: Image.Image, name: str) -> Mask:
    indices = np.asarray(turned.getchannel(0))
    used = np.unique(indices)
    palette = np.zeros((256, 3), np.uint8)
    stored = turned.getpalette("RGB") or []
    palette.reshape(-1)[: len(stored)] = stored
    black = used[~palette[used].any(axis=1)]
    _check_flat(indices, name)
    inverted = len(used) == 2 and used[0] == 0 and black.tolist() == [used[1]]
    return np.asarray(indices != (used[1] if inverted else 0))


def _from_colours(samples: Array, name: str) -> Mask:
    codes = samples.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    if _count(codes) > _LABELS:
        raise ImageError(f"{name} is in many colours: {_PHOTOGRAPH}.")
    if codes.size and codes.min() > 0:
        raise ImageError(
            f"{name} has colours and no black background, so nothing says what is inside: save it "
            "as white on black, or with a palette."
        )
    _check_flat(codes, name)
    return np.asarray(codes != 0)


def _from_floats(samples: Array, name: str) -> Mask:
    if np.isfinite(samples).all() and np.abs(samples).max() < _WHOLE:
        whole = samples.astype(np.int64)
        if (whole == samples).all():
            return _from_values(_narrowed(whole), name)
    if not (np.isfinite(samples).all() and samples.min() >= 0 and samples.max() <= 1):
        raise ImageError(
            f"{name} has floating-point samples beyond 0 to 1, expected a mask: save it as white "
            "on black."
        )
    return np.asarray(samples > 0.5)


def _from_values(samples: Array, name: str) -> Mask:
    values = np.unique(samples)
    if len(values) == 2 or values[-1] == 1:
        return np.asarray(samples == values[-1])
    if len(values) == 1:
        return np.asarray(samples > 0)
    white = float(np.iinfo(values.dtype).max)
    between = (samples >= _DARK / 255 * white) & (samples < _WHITE / 255 * white)
    is_grey = values[0] >= 0 and values[-1] > white / 2 and np.mean(between) <= _SOFT_SHARE
    if _are_labels(values, white=white):
        _check_flat(samples, name)
        return np.asarray(samples != 0)
    if is_grey:
        return np.asarray(samples > white / 2)
    if values.dtype != np.uint8 and values[0] == 0 and _alike(samples) >= _AREAS:
        return np.asarray(samples != 0)
    raise ImageError(f"{name} has {len(values)} grey levels: {_PHOTOGRAPH}.")


def _are_labels(values: Array, *, white: float) -> bool:
    """Whether grey levels are labels: 0 and few others, or a void of 255 and small numbers."""
    if values[0] != 0:
        return False
    if values[-1] >= _WHITE / 255 * white:
        return bool(values[-2] < _DARK * 2 / 255 * white and values[-1] == white)
    return len(values) <= (_FEW if values.dtype == np.uint8 else _LABELS)


def _narrowed(whole: Array) -> Array:
    """Whole numbers in the smallest type of a picture file that holds them."""
    kinds = (np.uint8, np.uint16, np.int32, np.int64)
    low, high = whole.min(), whole.max()
    return whole.astype(
        next(k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    )


def _check_flat(labels: Array, name: str) -> None:
    """Refuse labels that change from most pixels to the next, as only photographs do."""
    if labels.size >= _JUDGED_PIXELS and _alike(labels) < _FLAT_SHARE:
        raise ImageError(f"{name} changes from pixel to pixel: {_PHOTOGRAPH}.")


def _alike(labels: Array) -> float:
    """Share of the pixels that are as their left neighbour."""
    return float(np.mean(labels[:, 1:] == labels[:, :-1]))


def _count(codes: Array) -> int:
    """Different numbers, counted on some of the rows first: a photograph has many at once."""
    some = len(np.unique(codes[:: max(1, len(codes) // 64)]))
    return some if some > _LABELS else len(np.unique(codes))
