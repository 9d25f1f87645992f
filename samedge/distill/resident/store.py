"""Photos, masks and cut-outs in the memory of the device, decoded once.

Reads the parts that ``tools/pack_training.py`` writes. Worker processes decode into shared memory
and are forked before anything touches the GPU.
"""

from __future__ import annotations

import dataclasses
import io
import mmap
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samedge.types import Array

SIDE = 512
PADDING_COLOUR = (124, 116, 104)
"""What is right and below of a photo; normalised it is close to zero."""

CUTOUT_SIDE = 192
MOST_MASKS = 40


@dataclasses.dataclass(frozen=True)
class Store:
    """Everything to train on; photos lie at the top left of a padded square.

    Attributes:
        photos: (N, 3, S, S) uint8.
        sizes: (N, 2) float32, height and width in pixels.
        source: (N,) int64, index into ``names``.
        held_out: (N,) bool.
        masks: (M, S, S) uint8, 0 and 1.
        boxes: (M, 4) float32 ``x0, y0, x1, y1``, outer edges in pixels.
        areas: (M,) float32, pixels.
        members: (N, 40) int64, the masks of each photo; -1 beyond their number.
        cutouts: (K, 4, 192, 192) uint8 RGBA.
        names: of the sources.
    """

    photos: Tensor
    sizes: Tensor
    source: Tensor
    held_out: Tensor
    masks: Tensor
    boxes: Tensor
    areas: Tensor
    members: Tensor
    cutouts: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device) -> Store:
        """The same on a device."""
        moved: dict[str, Any] = {
            field.name: value.to(device) if isinstance(value, Tensor) else value
            for field in dataclasses.fields(self)
            for value in (getattr(self, field.name),)
        }
        return Store(**moved)


def load_store(parts: Sequence[Path], *, workers: int) -> Store:
    """Decode every part into memory of the host.

    Args:
        parts: files of ``tools/pack_training.py``.
        workers: processes.
    """
    documents = [dict(np.load(part)) for part in parts]
    photos = [(blob, None) for d in documents for blob in _cut(d["photos"], d["photo_ends"])]
    cutouts = [(blob, None) for d in documents for blob in _cut(d["cutouts"], d["cutout_ends"])]
    sizes = np.concatenate([d["sizes"] for d in documents])
    firsts = np.cumsum([0] + [len(d["sizes"]) for d in documents])
    owners = np.concatenate(
        [d["mask_photo"] + first for d, first in zip(documents, firsts, strict=False)]
    )
    runs = [run for d in documents for run in _cut(d["runs"], d["run_ends"])]
    masks = [(run, tuple(sizes[owner])) for run, owner in zip(runs, owners, strict=True)]
    decoded, extents = _parallel(_draw_mask, masks, (SIDE, SIDE), workers)
    boxes = np.array(extents, np.float32).reshape(-1, 5)
    return Store(
        photos=torch.from_numpy(_parallel(_draw_photo, photos, (3, SIDE, SIDE), workers)[0]),
        sizes=torch.from_numpy(sizes.astype(np.float32)),
        source=torch.from_numpy(np.concatenate([d["source"] for d in documents]).astype(np.int64)),
        held_out=torch.from_numpy(np.concatenate([d["held_out"] for d in documents])),
        masks=torch.from_numpy(decoded),
        boxes=torch.from_numpy(boxes[:, :4].copy()),
        areas=torch.from_numpy(boxes[:, 4].copy()),
        members=torch.from_numpy(_members(owners, len(sizes))),
        cutouts=torch.from_numpy(
            _parallel(_draw_cutout, cutouts, (4, CUTOUT_SIDE, CUTOUT_SIDE), workers)[0]
        ),
        names=tuple(str(name) for name in documents[0]["names"]),
    )


def _cut(flat: Array, ends: Array) -> list[Array]:
    starts = np.concatenate([[0], ends[:-1]])
    return [flat[start:end] for start, end in zip(starts, ends, strict=True)]


def _members(owners: Array, photos: int) -> Array:
    members = np.full((photos, MOST_MASKS), -1, np.int64)
    filled = np.zeros(photos, np.int64)
    for mask, photo in enumerate(owners):
        if filled[photo] < MOST_MASKS:
            members[photo, filled[photo]] = mask
            filled[photo] += 1
    return members


def _draw_photo(out: Array, item: tuple[Array, None]) -> None:
    with Image.open(io.BytesIO(item[0].tobytes())) as opened:
        picture = np.asarray(opened.convert("RGB"))
    out[:] = np.array(PADDING_COLOUR, np.uint8)[:, None, None]
    out[:, : picture.shape[0], : picture.shape[1]] = picture.transpose(2, 0, 1)


def _draw_cutout(out: Array, item: tuple[Array, None]) -> None:
    with Image.open(io.BytesIO(item[0].tobytes())) as opened:
        picture = np.asarray(opened.convert("RGBA"))
    out[:] = 0
    out[:, : picture.shape[0], : picture.shape[1]] = picture.transpose(2, 0, 1)


def _draw_mask(out: Array, item: tuple[Array, tuple[int, int]]) -> tuple[int, ...]:
    """Draw one mask; its outer edges and its area."""
    runs, (height, width) = item
    values = (np.arange(len(runs)) % 2).astype(np.uint8)
    mask = np.repeat(values, runs).reshape(height, width)
    out[:] = 0
    out[:height, :width] = mask
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return 0, 0, 0, 0, 0
    edges = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return *(int(edge) for edge in edges), int(np.count_nonzero(mask))


_SHARED: dict[str, Any] = {}
"""What forked workers see: the function, its items, and where the results go."""


def _parallel(
    function: Callable[..., Any], items: Sequence[Any], shape: tuple[int, ...], workers: int
) -> tuple[Array, list[Any]]:
    """Fill one row of an array for every item, in forked processes that share its memory."""
    count = len(items)
    size = int(np.prod(shape)) * max(count, 1)
    rows = np.frombuffer(mmap.mmap(-1, size), np.uint8)[: int(np.prod(shape)) * count]
    rows = rows.reshape(count, *shape)
    _SHARED.update(function=function, items=items, rows=rows)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        returned = pool.map(_fill, range(count), chunksize=max(count // (workers * 8), 1))
    _SHARED.clear()
    return rows, returned


def _fill(index: int) -> Any:
    return _SHARED["function"](_SHARED["rows"][index], _SHARED["items"][index])
