"""Geometry and pixels between the original image and the graphs' fixed frames.

Three frames occur. The *original* frame is the image as given. The *input* frame is the image with
its longest side resized to S, in the top left corner of an S x S square padded at the right and the
bottom. The *low-res* frame is the input frame at a quarter of its size, where the decoder's logits
live. The rules are those of SAM's reference code (``ResizeLongestSide``, ``postprocess_masks``);
the tests compare against it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from samedge.errors import PromptError
from samedge.pixels.images import check_image as check_image
from samedge.pixels.images import load_image as load_image
from samedge.types import Size

Array = npt.NDArray[Any]

PAD_VALUE = (124, 116, 104)
"""SAM's pixel mean (123.675, 116.28, 103.53), rounded: what the graph maps to nearly zero."""

LOW_RES_STRIDE = 4
"""Input pixels to one low-res logit."""

MASK_PROMPT_LOGIT = 10.0
"""Logit of a certain pixel in a mask prompt; a pixel half covered gets 0."""

_STABILITY_OFFSET = 1.0  # SAM's automatic mask generator cuts at logits +1 and -1

# Products of at most so many rows stay in the cache and below the size at which OpenBLAS starts
# threads. Threads cost more than they give here: the backend's own still hold the cores, and beside
# them 64 rows took ten times as long as 16.
_BAND = 16


def input_size_from_original(original_size: Size, target_length: int) -> Size:
    """Size in the input frame: the longest side becomes ``target_length``, the other follows.

    Rounds as SAM does (half up), except that no side falls below one pixel: SAM's code fails on an
    image more than 2 S times longer than wide.

    Args:
        original_size: ``(height, width)`` of the original image.
        target_length: S, pixels.
    """
    height, width = original_size
    scale = target_length * 1.0 / max(height, width)
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def resize_longest_side(image: Array, target_length: int) -> Array:
    """Resize so that the longest side is ``target_length``, equal to SAM's to the pixel.

    Args:
        image: (H, W, 3) uint8 RGB.
        target_length: S, pixels.

    Returns:
        (h, w, 3) uint8 RGB, ``(h, w)`` as :func:`input_size_from_original` says.
    """
    height, width = input_size_from_original((image.shape[0], image.shape[1]), target_length)
    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def encoder_input_from_image(
    image: Array, target_length: int, *, pad_value: tuple[int, ...] = PAD_VALUE
) -> Array:
    """Resize and pad an image to what the encoder graph takes.

    Args:
        image: (H, W, 3) uint8 RGB.
        target_length: S, pixels.
        pad_value: RGB of the padding at the right and the bottom.

    Returns:
        (1, S, S, 3) uint8 RGB.

    Raises:
        ImageError: not an (H, W, 3) uint8 array.
    """
    check_image(image)
    resized = resize_longest_side(image, target_length)
    height, width = resized.shape[:2]
    square = np.empty((1, target_length, target_length, 3), np.uint8)
    square[0, :height, :width] = resized
    square[0, height:] = pad_value
    square[0, :height, width:] = pad_value
    return square


def input_coords_from_original(coords: Array, original_size: Size, input_size: Size) -> Array:
    """Map coordinates from the original frame to the input frame.

    Args:
        coords: (..., 2) xy pixels of the original image.
        original_size: ``(height, width)`` of the original image.
        input_size: ``(height, width)`` in the input frame.

    Returns:
        (..., 2) float32, xy pixels of the input frame.
    """
    scale = np.array(
        [input_size[1] / original_size[1], input_size[0] / original_size[0]], np.float64
    )
    return (np.asarray(coords, np.float64) * scale).astype(np.float32)


def low_res_logits_from_mask(mask: Array, original_size: Size, target_length: int) -> Array:
    """Turn a mask of the original image into a mask prompt.

    Every low-res pixel gets its covered share p as the logit ``MASK_PROMPT_LOGIT * (2 p - 1)``;
    the padding counts as uncovered.

    Args:
        mask: (H, W) bool, in the original frame.
        original_size: ``(height, width)`` that the mask must have.
        target_length: S, pixels.

    Returns:
        (S/4, S/4) float32 logits.

    Raises:
        PromptError: the mask has another size than the image.
    """
    if mask.shape != original_size:
        raise PromptError(
            f"The mask prompt is {mask.shape[0]}x{mask.shape[1]} and the image "
            f"{original_size[0]}x{original_size[1]} (height x width): give a mask of the image's "
            "size, or the low-res logits of an earlier result."
        )
    height, width = input_size_from_original(original_size, target_length)
    picture = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
    square = np.zeros((target_length, target_length), np.uint8)
    square[:height, :width] = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
    side = target_length // LOW_RES_STRIDE
    blocks = square.reshape(side, LOW_RES_STRIDE, side, LOW_RES_STRIDE)
    share = blocks.sum(axis=(1, 3), dtype=np.uint32) / np.float32(255 * LOW_RES_STRIDE**2)
    return np.asarray(MASK_PROMPT_LOGIT * (2.0 * share - 1.0), np.float32)


def logits_from_low_res(
    low_res: Array, input_size: Size, original_size: Size, *, target_length: int
) -> Array:
    """Upscale logits to the original frame, exactly as SAM's ``postprocess_masks`` does.

    SAM interpolates to S x S, crops the padding and interpolates to the original size. Both steps
    are linear and separable, so their product is one small banded matrix an axis; nothing of size
    S x S is ever made.

    Args:
        low_res: (M, S/4, S/4) float32 logits.
        input_size: ``(height, width)`` in the input frame.
        original_size: ``(height, width)`` of the result.
        target_length: S, pixels.

    Returns:
        (M, H, W) float32 logits.
    """
    rows = _upscaling(low_res.shape[-2], target_length, input_size[0], original_size[0])
    columns = _upscaling(low_res.shape[-1], target_length, input_size[1], original_size[1])
    result = np.empty((len(low_res), *original_size), np.float32)
    for logits, out in zip(low_res, result, strict=True):
        wide = _widened(logits, columns, 0, original_size[1])
        for part, band, first, last in _bands(rows, 0, original_size[0]):
            np.matmul(band, wide[first:last], out=out[part])
    return result


def masks_from_low_res(
    low_res: Array,
    input_size: Size,
    original_size: Size,
    *,
    target_length: int,
    threshold: float = 0.0,
) -> Array:
    """Masks in the original frame: :func:`logits_from_low_res` cut at ``threshold``, but cheaper.

    Interpolated values never exceed their neighbours, so only the rectangle around the logits above
    the threshold is computed; and it is computed in bands that stay in the processor's cache.

    Args:
        low_res: (M, S/4, S/4) float32 logits.
        input_size: ``(height, width)`` in the input frame.
        original_size: ``(height, width)`` of the result.
        target_length: S, pixels.
        threshold: logits above it are in the mask.

    Returns:
        (M, H, W) bool.
    """
    rows = _upscaling(low_res.shape[-2], target_length, input_size[0], original_size[0])
    columns = _upscaling(low_res.shape[-1], target_length, input_size[1], original_size[1])
    masks = np.zeros((len(low_res), *original_size), np.bool_)
    for logits, mask in zip(low_res, masks, strict=True):
        _cut_mask(logits, rows, columns, threshold, mask)
    return masks


def stability_scores(logits: Array, input_size: tuple[int, int]) -> Array:
    """IoU of each mask cut high with itself cut low, over the low-res pixels of the image.

    SAM measures it after upscaling; here 1/16 of the pixels or fewer give the same figure to about
    a hundredth.

    Args:
        logits: (M, S/4, S/4).
        input_size: ``(height, width)`` in the input frame; the padding does not count.

    Returns:
        (M,) float32.
    """
    height, width = (-(-side // LOW_RES_STRIDE) for side in input_size)
    inside = logits[:, :height, :width]
    high = np.count_nonzero(inside > _STABILITY_OFFSET, axis=(1, 2))
    low = np.count_nonzero(inside > -_STABILITY_OFFSET, axis=(1, 2))
    return np.asarray(high / np.maximum(low, 1), np.float32)


class _Axis(NamedTuple):
    """Upscaling along one axis: an (n, m) float32 matrix, and where each row's weights lie."""

    matrix: Array
    first: Array  # (n,) column of the first weight
    last: Array  # (n,) one past the column of the last weight


_Band = tuple[slice, Array, int, int]


def _cut_mask(logits: Array, rows: _Axis, columns: _Axis, threshold: float, mask: Array) -> None:
    """Write the upscaled ``logits > threshold`` into ``mask``, which is all False."""
    positive = logits > threshold
    top, bottom = _touched(rows, np.any(positive, axis=1))
    left, right = _touched(columns, np.any(positive, axis=0))
    if top == bottom or left == right:
        return
    wide = _widened(logits, columns, left, right)
    for part, band, first, last in _bands(rows, top, bottom):
        np.greater(band @ wide[first:last], threshold, out=mask[part, left:right])


def _touched(axis: _Axis, positive: Array) -> tuple[int, int]:
    """First and one past the last position with weight on any ``positive`` logit."""
    count = np.concatenate(([0], np.cumsum(positive)))
    hit = np.flatnonzero(count[axis.last] - count[axis.first])
    return (int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, 0)


def _widened(logits: Array, columns: _Axis, left: int, right: int) -> Array:
    """Upscale the columns of (m, m) logits to positions ``left`` to ``right``."""
    wide = np.empty((len(logits), right - left), np.float32)
    for part, band, first, last in _bands(columns, left, right):
        np.matmul(logits[:, first:last], band.T, out=wide[:, part.start - left : part.stop - left])
    return wide


def _bands(axis: _Axis, start: int, stop: int) -> Iterator[_Band]:
    """Cut rows ``start:stop`` of a banded matrix into pieces without the columns that are zero."""
    for top in range(start, stop, _BAND):
        bottom = min(top + _BAND, stop)
        first, last = int(axis.first[top]), int(axis.last[bottom - 1])
        yield slice(top, bottom), axis.matrix[top:bottom, first:last], first, last


@functools.lru_cache(maxsize=32)
def _upscaling(side: int, target_length: int, input_length: int, original_length: int) -> _Axis:
    """One axis of SAM's upscaling: interpolate to S, crop, interpolate to the original length."""
    first = _bilinear(side, target_length)[:input_length]
    matrix = (_bilinear(input_length, original_length) @ first).astype(np.float32)
    matrix.setflags(write=False)  # shared by every caller
    filled = matrix != 0
    return _Axis(matrix, filled.argmax(axis=1), side - filled[:, ::-1].argmax(axis=1))


def _bilinear(length_in: int, length_out: int) -> Array:
    """Bilinear interpolation of one axis as a matrix, by torch's rule for align_corners=False."""
    source = (np.arange(length_out) + 0.5) * (length_in / length_out) - 0.5
    source = np.maximum(source, 0.0)
    low = np.minimum(source.astype(np.int64), length_in - 1)
    high = np.minimum(low + 1, length_in - 1)
    weight = source - low
    matrix = np.zeros((length_out, length_in))
    rows = np.arange(length_out)
    np.add.at(matrix, (rows, low), 1.0 - weight)
    np.add.at(matrix, (rows, high), weight)
    return matrix
