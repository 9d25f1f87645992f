"""COCO's compressed run-length masks, without pycocotools: what ``--json`` and result files hold.

A mask is read column by column; the lengths of its runs, starting with background, are written as
differences to the run two before, five bits a character (the format of ``rleToString`` in COCO's
``maskApi.c``). pycocotools reads the result; the tests compare against it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from samedge.errors import DatasetError

Array = npt.NDArray[Any]

_OFFSET = 48  # the first of the 64 characters in use, "0"


def rle_from_mask(mask: Array) -> dict[str, Any]:
    """Encode a mask as ``{"size": [height, width], "counts": str}``.

    Args:
        mask: (H, W) bool.
    """
    flat = np.asarray(mask, bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    runs = np.diff(edges).tolist()
    if flat.size and flat[0]:
        runs.insert(0, 0)
    return {"size": list(mask.shape), "counts": _string_from_runs(runs)}


def mask_from_rle(rle: dict[str, Any]) -> Array:
    """Decode a compressed or uncompressed COCO RLE into an (H, W) bool mask.

    Raises:
        DatasetError: the runs do not fill the size.
    """
    height, width = rle["size"]
    counts = rle["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    runs = _runs_from_string(counts) if isinstance(counts, str) else list(counts)
    if sum(runs) != height * width:
        raise DatasetError(
            f"The runs of this RLE cover {sum(runs)} pixels, expected {height} x {width}: "
            "the file is truncated or its size is wrong."
        )
    values = np.arange(len(runs)) % 2 == 1
    mask: Array = np.repeat(values, runs).reshape(width, height).T
    return mask


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


def _runs_from_string(counts: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii"):
        bits = character - _OFFSET
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
