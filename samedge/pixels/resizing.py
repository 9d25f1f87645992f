"""From a picture of any size to the size of a model's input, by two rules.

``exact`` is SAM's: Pillow's antialiased bilinear filter over every pixel, to the bit. ``fast``
looks at four pixels of each block first, placed so that no two share a row or a column, and
filters their means, which are a little more than the model's input has pixels. Both go through the
picture in bands, so that beside the caller's array they hold a few megabytes, whatever its size.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from PIL import Image

from samedge.types import Array, Size

EXACT: Final = "exact"
FAST: Final = "fast"
PREPROCESSES = (EXACT, FAST)

_GAP = 1.25
"""Blocks along a side of the input, at least, to its pixels: what the last filter works on."""

_BAND_PIXELS = 1 << 17
"""Of a picture at a time: half a megabyte as Pillow keeps them, which stays in the cache."""

_BAND_BLOCKS = 1 << 17
_LEAST_COLUMNS = 64

_QUEENS = ((-3, -1), (-1, 3), (1, -3), (3, 1))
"""Where a block is looked at, in eighths of its sides from its middle: the rotated grid of
graphics hardware, symmetric, so that nothing moves."""

_SEVEN_BITS = np.uint32(0xFEFEFEFE)
"""Of each of four bytes, so that halving leaves every bit in its byte."""


def exact_resized(image: Array, size: Size) -> Array:
    """Pillow's bilinear resize, with its antialiasing.

    Args:
        image: (H, W, 3) uint8, of any strides.
        size: ``(height, width)`` to be.

    Returns:
        (height, width, 3) uint8.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    if height > size[0] and height - size[0] > 2 * (width - size[1]):  # as Pillow 13 decides
        return _across(_down(image, size[0], extent=height), size[1])
    return _down(_across(image, size[1]), size[0], extent=height)


def fast_resized(image: Array, size: Size) -> Array:
    """A resize that looks at a part of a large picture's pixels, and at all of a small one's.

    Args:
        image: (H, W, 3) uint8, of any strides; channels that run backwards, as those of a BGR
            frame's RGB view do, cost nothing.
        size: ``(height, width)`` to be.

    Returns:
        (height, width, 3) uint8.
    """
    down, along = block_sides(image.shape[:2], size)
    if down == along == 1:
        return exact_resized(image, size)
    means = _block_means(image, (down, along))
    order = "BGRX" if _is_packed(image) and image.strides[2] < 0 else "RGBX"
    picture = Image.frombytes("RGB", (means.shape[1], means.shape[0]), means, "raw", order)
    extent = image.shape[1] / along, image.shape[0] / down
    return _filtered(picture, (size[1], size[0]), extent)


def fast_resized_plane(plane: Array, size: Size) -> Array:
    """As :func:`fast_resized`, of one channel, to any size.

    Args:
        plane: (H, W) uint8, of any strides.
        size: ``(height, width)`` to be.

    Returns:
        (height, width) uint8.
    """
    side = block_sides(plane.shape[:2], size)
    means = plane if side == (1, 1) else _plane_means(plane, side)
    picture = Image.fromarray(np.ascontiguousarray(means))
    extent = plane.shape[1] / side[1], plane.shape[0] / side[0]
    return _filtered(picture, (size[1], size[0]), extent)


def block_sides(source: Size, size: Size) -> Size:
    """Height and width of the blocks that become one pixel each before the last filter.

    Args:
        source: ``(height, width)`` of a picture.
        size: the same that it is to have.
    """
    down, along = (max(int(n / (_GAP * m)), 1) for n, m in zip(source, size, strict=True))
    return down, along


@functools.lru_cache(maxsize=64)
def _places(side: Size) -> tuple[Size, ...]:
    """Row and column of the pixels of a block that are looked at; all of one of 2 x 2."""
    return tuple((_place(down, side[0]), _place(along, side[1])) for down, along in _QUEENS)


def _place(eighths: int, side: int) -> int:
    if eighths > 0:
        return side - 1 - _place(-eighths, side)
    return max(int((side - 1) / 2 + side * eighths / 8 + 0.5), 0)


def _block_means(image: Array, side: Size) -> Array:
    """(rows, columns) uint32: the bytes of each block's mean, the fourth of no use.

    Args:
        image: (H, W, 3) uint8.
        side: height and width of a block; the last ones may be cut off.
    """
    rows, columns = (-(-n // length) for n, length in zip(image.shape, side, strict=False))
    means = np.empty((rows, columns), np.uint32)
    step = max(_BAND_BLOCKS // columns, 1)
    for start in range(0, rows, step):
        # One row more than the band has, which is not looked at: see below.
        band = image[start * side[0] : (start + step) * side[0] + 1]
        packed = band if _is_packed(band) else np.ascontiguousarray(band)
        _fill_means(packed, side, means[start : start + step])
    return means


def _fill_means(image: Array, side: Size, means: Array) -> None:
    """Means of whole blocks four bytes at a time, and the others one byte at a time.

    The image's last row is among the others: one byte is read beyond the pixels that are wanted.
    """
    rows = min((image.shape[0] - 1) // side[0], len(means))
    columns = image.shape[1] // side[1]
    if rows and columns:
        pixels = [_every(image, side, place, (rows, columns)).copy() for place in _places(side)]
        means[:rows, :columns] = _mean_of_four(pixels, _SEVEN_BITS)
    channels = means.view(np.uint8).reshape(*means.shape, 4)[..., :3]
    last, right = np.arange(rows, means.shape[0]), np.arange(columns, means.shape[1])
    if len(last):
        channels[rows:] = _edge_means(image, side, last, np.arange(means.shape[1]))
    if len(right) and rows:
        channels[:rows, columns:] = _edge_means(image, side, np.arange(rows), right)


def _edge_means(image: Array, side: Size, rows: Array, columns: Array) -> Array:
    """(rows, columns, 3) means of blocks that the picture's edges may cut, in memory's order."""
    last_row, last_column = image.shape[0] - 1, image.shape[1] - 1
    pixels = [
        image[
            np.minimum(rows * side[0] + down, last_row)[:, None],
            np.minimum(columns * side[1] + along, last_column),
        ]
        for down, along in _places(side)
    ]
    means = _mean_of_four(pixels, np.uint8(0xFE))
    return means[..., :: -1 if image.strides[2] < 0 else 1]


def _plane_means(plane: Array, side: Size) -> Array:
    """(rows, columns) uint8 means of the blocks of one channel."""
    height, width = plane.shape
    rows, columns = -(-height // side[0]), -(-width // side[1])
    pixels = []
    for down, along in _places(side):
        found = np.empty((rows, columns), np.uint8)
        seen = plane[down :: side[0], along :: side[1]]
        found[: len(seen), : seen.shape[1]] = seen
        # A block that the edge cuts before this place is looked at where it ends.
        found[len(seen) :, : seen.shape[1]] = plane[-1:, along :: side[1]]
        found[:, seen.shape[1] :] = plane[_rows_at(down, side[0], rows, height), -1:]
        pixels.append(found)
    return _mean_of_four(pixels, np.uint8(0xFE))


def _rows_at(down: int, side: int, rows: int, height: int) -> Array:
    return np.minimum(np.arange(rows) * side + down, height - 1)


def _mean_of_four(pixels: Sequence[Array], seven_bits: np.unsignedinteger[Any]) -> Array:
    """Means of bytes that lie side by side in wider integers; the arrays are used up.

    What two bytes have in common and half of what they differ in is their mean. Rounding up first
    and down then leaves nothing lighter or darker.
    """
    first, second, third, fourth = pixels
    pairs = []
    for one, other in ((first, second), (third, fourth)):
        either: Array = one | other
        either -= _half_difference(one, other, seven_bits)
        pairs.append(either)
    both: Array = pairs[0] & pairs[1]
    both += _half_difference(pairs[0], pairs[1], seven_bits)
    return both


def _half_difference(one: Array, other: Array, seven_bits: np.unsignedinteger[Any]) -> Array:
    one ^= other
    one &= seven_bits
    one >>= one.dtype.type(1)
    return one


def _is_packed(image: Array) -> bool:
    """Whether a pixel's three bytes lie together, and pixels and rows in rising order."""
    rows, columns, channels = image.strides
    return abs(channels) == 1 and columns >= 3 and rows > 0


@dataclasses.dataclass(frozen=True)
class _Window:
    """What NumPy makes an array of that reads four bytes at each of some pixels."""

    image: Array  # keeps the memory alive
    __array_interface__: dict[str, object]


def _every(image: Array, side: Size, first: tuple[int, int], shape: tuple[int, ...]) -> Array:
    """(rows, columns) uint32, not aligned: one pixel of each block, and the byte after it."""
    rows, columns, channels = image.strides
    offset = first[0] * rows + first[1] * columns + min(2 * channels, 0)
    start = image.__array_interface__["data"][0] + offset
    interface: dict[str, object] = {
        "data": (start, True),
        "shape": shape,
        "strides": (rows * side[0], columns * side[1]),
        "typestr": _SEVEN_BITS.dtype.str,
        "version": 3,
    }
    return np.asarray(_Window(image, interface))


def _across(image: Array, length: int) -> Array:
    """Filter the rows of a picture to ``length`` pixels."""
    height, width = image.shape[:2]
    if length == width:
        return image
    out = np.empty((height, length, 3), np.uint8)

    def work(start: int, stop: int) -> None:
        picture = Image.fromarray(np.ascontiguousarray(image[start:stop]))
        out[start:stop] = _filtered(picture, (length, stop - start), (width, stop - start))

    _in_bands(work, height, max(_BAND_PIXELS // width, 1))
    return out


def _down(image: Array, length: int, *, extent: float) -> Array:
    """Filter the columns of a picture to ``length`` pixels.

    Args:
        image: (H, W, 3) uint8.
        length: to be.
        extent: rows of it that count; the last may do in part.
    """
    height, width = image.shape[:2]
    if length == height == extent:
        return image
    out = np.empty((length, width, 3), np.uint8)

    def work(start: int, stop: int) -> None:
        picture = Image.fromarray(np.ascontiguousarray(image[:, start:stop]))
        out[:, start:stop] = _filtered(picture, (stop - start, length), (stop - start, extent))

    _in_bands(work, width, max(_BAND_PIXELS // height, _LEAST_COLUMNS))
    return out


def _filtered(picture: Image.Image, size: tuple[int, int], extent: tuple[float, float]) -> Array:
    """Pillow's filter; sizes are width first, as Pillow's."""
    box = (0.0, 0.0, float(extent[0]), float(extent[1]))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box))


def _in_bands(work: Callable[[int, int], None], length: int, step: int) -> None:
    """Call ``work(start, stop)`` for every ``step`` of a length, in two threads if it is long.

    Pillow and NumPy let other threads run while they compute.
    """
    starts = range(0, length, step)

    def some(mine: Sequence[int]) -> None:
        for start in mine:
            work(start, min(start + step, length))

    if len(starts) < 2 or _cores() < 2:
        some(starts)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as other:
        half = other.submit(some, starts[1::2])
        some(starts[::2])
        half.result()


@functools.cache
def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1
