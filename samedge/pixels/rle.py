"""COCO's compressed run-length masks, without pycocotools: what ``--json`` and result files hold.

A mask is read column by column; the lengths of its runs, starting with background, are written as
differences to the run two before, five bits a character (the format of ``rleToString`` in COCO's
``maskApi.c``). pycocotools reads the result; the tests compare against it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from samedge.errors import DatasetError
from samedge.files import limits
from samedge.types import Rle

Array = npt.NDArray[Any]

_OFFSET, _CHARACTERS = 48, 64  # "0" is the first
_MOST_CHARACTERS = 7  # of one number: 35 bits
_PIXELS_AT_ONCE = 1 << 20  # of large masks, which would be copied whole else


def rle_from_mask(mask: Array) -> Rle:
    """Encode a mask as ``{"size": [height, width], "counts": str}``.

    Args:
        mask: (H, W) bool.
    """
    edges = np.concatenate([[0], *_changes(np.asarray(mask, bool)), [mask.size]])
    runs = np.diff(edges).tolist()
    if mask.size and mask[0, 0]:
        runs.insert(0, 0)
    return {"size": list(mask.shape), "counts": _string_from_runs(runs)}


def _changes(mask: Array) -> Iterator[Array]:
    """Places, column by column, whose pixel differs from the one before; some columns at a time."""
    height, width = mask.shape
    step = max(_PIXELS_AT_ONCE // max(height, 1), 1)
    before = mask.flat[0] if mask.size else False
    for left in range(0, width if height else 0, step):
        flat = mask[:, left : left + step].ravel(order="F")
        if flat[0] != before:
            yield np.array([left * height])
        yield np.flatnonzero(flat[1:] != flat[:-1]) + (1 + left * height)
        before = flat[-1]


def rle_from_window(window: Array, *, corner: tuple[int, int], size: tuple[int, int]) -> Rle:
    """Encode a mask of a part of an image as one of the image, which is never made.

    Args:
        window: (h, w) bool.
        corner: ``(x, y)`` of the window's top left pixel in the image.
        size: ``(height, width)`` of the image.
    """
    height = size[0]
    padded = np.zeros((window.shape[1], window.shape[0] + 1), np.int8)  # columns, one cell between
    padded[:, :-1] = np.asarray(window, bool).T
    steps = np.diff(padded.ravel(), prepend=np.int8(0))
    starts, ends = (_in_image(np.flatnonzero(steps == s), window, corner, height) for s in (1, -1))
    return rle_from_intervals(starts, ends, size=size)


def rle_from_intervals(starts: Array, ends: Array, *, size: tuple[int, int]) -> Rle:
    """Encode a mask that is known by where its pixels begin and end.

    Args:
        starts: (N,) places, column by column, at which a run of the mask starts; rising.
        ends: (N,) the places behind those runs, of which one may be the next start.
        size: ``(height, width)`` of the image.
    """
    pixels = size[0] * size[1]
    if not len(starts):
        return {"size": list(size), "counts": _string_from_runs([pixels])}
    touching = starts[1:] == ends[:-1]  # down to the image's last row, and on in the next column
    starts, ends = starts[np.r_[True, ~touching]], ends[np.r_[~touching, True]]
    edges = np.stack([starts, ends], axis=1).ravel()
    runs = np.diff(np.concatenate([[0], edges, [pixels]])).tolist()
    return {"size": list(size), "counts": _string_from_runs(runs if runs[-1] else runs[:-1])}


def intervals_from_rle(rle: Mapping[str, Any]) -> tuple[Array, Array]:
    """Where the pixels of a mask begin and end, column by column, without the mask itself.

    Returns:
        (N,) int64 starts, and (N,) the places behind the ends.

    Raises:
        DatasetError: runs that do not fill the size.
    """
    height, width = rle["size"]
    runs = checked_runs(rle["counts"], (height, width))
    edges = np.cumsum(runs)
    starts, ends = edges[:-1:2], edges[1::2]
    filled = ends > starts
    return starts[filled], ends[filled]


def _in_image(
    places: Array, window: Array, corner: tuple[int, int], height: int
) -> npt.NDArray[np.int64]:
    """Places in a window's columns, one cell apart, as places in the image's columns."""
    column, row = np.divmod(places, window.shape[0] + 1)
    found: npt.NDArray[np.int64] = (corner[0] + column) * height + corner[1] + row
    return found


def mask_from_rle(rle: Mapping[str, Any]) -> Array:
    """Decode a compressed or uncompressed COCO RLE into an (H, W) bool mask.

    Raises:
        DatasetError: not ``size`` and ``counts`` of the right types, too many pixels, or runs that
            do not fill the size.
    """
    height, width = _checked_size(rle.get("size"))
    runs = checked_runs(rle.get("counts"), (height, width))
    values = np.arange(len(runs)) % 2 == 1
    mask: Array = np.repeat(values, runs).reshape(width, height).T
    return mask


def checked_runs(counts: Any, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Lengths of runs, none negative, that cover a mask.

    Args:
        counts: compressed text, or a list of whole numbers.
        size: ``(height, width)``.

    Raises:
        DatasetError: they are none.
    """
    try:
        text = counts.encode("ascii") if isinstance(counts, str) else counts
        if isinstance(text, bytes):
            runs = _runs_from_string(text)
        else:
            runs = np.array([operator.index(run) for run in text], np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"The runs of this RLE cannot be read: {error!s:.200}.") from error
    height, width = size
    pixels = height * width
    covered = int(np.clip(runs, -1, pixels + 1).sum())
    if covered != pixels or (runs < 0).any():
        raise DatasetError(
            f"The runs of this RLE cover {covered} pixels, or some are negative, expected {height} "
            f"x {width}: the file is truncated or its size is wrong."
        )
    return runs


def _checked_size(size: Any) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        height = width = -1
    if height < 0 or width < 0:
        raise DatasetError(
            f"An RLE has size {size!r:.80}, expected [height, width]: the file is damaged."
        )
    limits.check(height * width, "image_pixels", what="A mask", error=DatasetError)
    return height, width


def _string_from_runs(runs: list[int]) -> str:
    characters = bytearray()
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            characters.append(_OFFSET + (bits | 0x20 if more else bits))
    return characters.decode("ascii")


def _runs_from_string(counts: bytes) -> npt.NDArray[np.int64]:
    """Runs of a compressed RLE.

    Raises:
        ValueError: other characters, a number that does not end, or one that is too long.
    """
    bits = np.frombuffer(counts, np.uint8).astype(np.int64) - _OFFSET
    ends = np.flatnonzero(~bits & 0x20)
    if ((bits < 0) | (bits >= _CHARACTERS)).any() or (len(bits) and not len(ends)):
        raise ValueError("there are characters that it never has")
    if not len(bits):
        return bits
    if ends[-1] != len(bits) - 1:
        raise ValueError("the last number does not end")
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _MOST_CHARACTERS:
        raise ValueError("there is a number that no image has pixels for")
    shifts = 5 * (np.arange(len(bits)) - np.repeat(starts, ends - starts + 1))
    values = np.add.reduceat((bits & 0x1F) << shifts, starts)
    values -= np.where(bits[ends] & 0x10, np.int64(1) << (shifts[ends] + 5), 0)
    # From the fourth on, a number is a run's difference to the run two before.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
