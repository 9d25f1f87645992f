"""Mask files: which pixels are inside, by what the file is.

Tools write masks in many ways; read as the wrong one, a mask is empty or inverted without a word.

=====================================  =========================================================
the file                               inside
=====================================  =========================================================
an alpha channel that varies           where it is opaque: more than half
a palette (Pascal VOC, DAVIS)          every index but 0; of two colours, the one that is not black
1 bit; highest value 1                 1
two values                             the higher one
few values, a label map                every label but 0; also 16 and 32 bits, also colours on black
grey, nearly all black or white        above the middle
floating-point from 0 to 1             above the middle
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
from samedge.pixels.picture_files import opened_picture, orientation, upright
from samedge.types import Array, Size

Mask = npt.NDArray[np.bool_]

_LABELS = 256  # as many different values can be labels; a photograph of 16 bits has more
_FEW = 32  # as many different grey values of 8 bits can be labels
_WHITE, _DARK = 224, 32  # grey above and below these is white and black, but for a soft edge
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
    with opened_picture(source) as (picture, name):
        picture.load()
        turned = upright(picture, orientation(picture))
        inside = _inside(picture, turned, value, name)
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
    if _are_labels(values):
        _check_flat(samples, name)
        return np.asarray(samples != 0)
    between = (samples >= _DARK) & (samples < _WHITE)
    if values.dtype != np.uint8 or values[0] < 0 or np.mean(between) > _SOFT_SHARE:
        raise ImageError(f"{name} has {len(values)} grey levels: {_PHOTOGRAPH}.")
    return np.asarray(samples > 127)


def _are_labels(values: Array) -> bool:
    """Whether grey levels are labels: 0 and few others, or a void of 255 and small numbers."""
    if values[0] != 0:
        return False
    if values.dtype != np.uint8:
        return len(values) <= _LABELS
    if values[-1] < _WHITE:
        return len(values) <= _FEW
    return bool(values[-2] < _DARK * 2 and values[-1] == 255)


def _check_flat(labels: Array, name: str) -> None:
    """Refuse labels that change from most pixels to the next, as only photographs do."""
    if labels.size >= _JUDGED_PIXELS and np.mean(labels[:, 1:] == labels[:, :-1]) < _FLAT_SHARE:
        raise ImageError(f"{name} changes from pixel to pixel: {_PHOTOGRAPH}.")


def _count(codes: Array) -> int:
    """Different numbers, counted on some of the rows first: a photograph has many at once."""
    some = len(np.unique(codes[:: max(1, len(codes) // 64)]))
    return some if some > _LABELS else len(np.unique(codes))
