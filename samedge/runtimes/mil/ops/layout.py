"""The same numbers in another shape or order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from samedge.errors import InferenceError
from samedge.runtimes.mil.ops.arguments import flag, integer, integers, number, several


def reshape(x: Tensor, shape: Tensor) -> Tensor:
    """Row-major reshape; -1 takes what is left and 0 keeps the axis of x at that place."""
    sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(integers(shape))]
    return x.reshape(sizes)


def transpose(x: Tensor, perm: Tensor) -> Tensor:
    """Axis i of the result is axis perm[i] of x."""
    return x.permute(integers(perm))


def expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    """New axes of size one, at their places in the result."""
    places = integers(axes)
    rank = x.ndim + len(places)
    for axis in sorted(a % rank for a in places):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Drop axes of size one: the given ones, or all."""
    return x.squeeze() if axes is None else x.squeeze(tuple(integers(axes)))


def flatten2d(x: Tensor, axis: Tensor | int = 1) -> Tensor:
    """Two axes: all before ``axis``, and the rest."""
    at = integer(axis) % (x.ndim + 1) if integer(axis) >= 0 else x.ndim + integer(axis)
    rows = 1
    for size in x.shape[:at]:
        rows *= size
    return x.reshape(rows, -1)


def concat(
    values: Tensor | tuple[Tensor, ...], axis: Tensor | int, interleave: Tensor | bool = False
) -> Tensor:
    """Join along an axis; interleaved takes one slice of each in turn."""
    parts, at = several(values), integer(axis)
    if not flag(interleave):
        return torch.cat(parts, dim=at)
    at %= parts[0].ndim
    return torch.stack(parts, dim=at + 1).flatten(at, at + 1)


def stack(values: Tensor | tuple[Tensor, ...], axis: Tensor | int = 0) -> Tensor:
    """Join along a new axis."""
    return torch.stack(several(values), dim=integer(axis))


def split(
    x: Tensor,
    axis: Tensor | int,
    num_splits: Tensor | None = None,
    split_sizes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Parts along an axis: of equal size, or of the given sizes."""
    at = integer(axis)
    if split_sizes is not None:
        return torch.split(x, integers(split_sizes), dim=at)
    if num_splits is None:
        raise InferenceError("split has neither num_splits nor split_sizes, expected one of them.")
    return torch.split(x, x.shape[at] // integer(num_splits), dim=at)


def tile(x: Tensor, reps: Tensor) -> Tensor:
    """Repeat whole axes."""
    return x.repeat(integers(reps))


def pad(
    x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Tensor | float = 0.0
) -> Tensor:
    """Pad the last axes; ``pad`` holds before and after, first padded axis first."""
    flat = integers(pad)
    pairs = [flat[i : i + 2] for i in range(0, len(flat), 2)]
    reordered = [n for pair in reversed(pairs) for n in pair]
    if mode == "constant":
        return functional.pad(x, reordered, value=number(constant_val))
    if mode in ("reflect", "replicate"):
        return _edge_pad(x, pairs, mode)
    raise InferenceError(f"pad has mode {mode!r}, expected constant, reflect or replicate.")


def _edge_pad(x: Tensor, pairs: Sequence[Sequence[int]], mode: str) -> Tensor:
    for axis, (before, after) in zip(range(x.ndim - len(pairs), x.ndim), pairs, strict=True):
        last = x.shape[axis] - 1
        places = torch.arange(-before, last + after + 1)
        if mode == "reflect":
            places = last - (last - places.abs()).abs()
        x = x.index_select(axis, places.clamp(0, last))
    return x


def pixel_shuffle(x: Tensor, upscale_factor: Tensor) -> Tensor:
    """(n, C f^2, H, W) -> (n, C, H f, W f)."""
    return functional.pixel_shuffle(x, integer(upscale_factor))


def pixel_unshuffle(x: Tensor, downscale_factor: Tensor) -> Tensor:
    """(n, C, H f, W f) -> (n, C f^2, H, W)."""
    return functional.pixel_unshuffle(x, integer(downscale_factor))


def depth_to_space(x: Tensor, block_size: Tensor) -> Tensor:
    """(n, f^2 C, H, W) -> (n, C, H f, W f), with the place in the block as the outer channel."""
    n, channels, height, width = x.shape
    f = integer(block_size)
    blocks = x.reshape(n, f, f, channels // (f * f), height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, height * f, width * f)


def space_to_depth(x: Tensor, block_size: Tensor) -> Tensor:
    """The inverse of depth_to_space."""
    n, channels, height, width = x.shape
    f = integer(block_size)
    blocks = x.reshape(n, channels, height // f, f, width // f, f)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, height // f, width // f)


OPS = {
    "concat": concat,
    "depth_to_space": depth_to_space,
    "expand_dims": expand_dims,
    "flatten2d": flatten2d,
    "pad": pad,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "reshape": reshape,
    "space_to_depth": space_to_depth,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "tile": tile,
    "transpose": transpose,
}
