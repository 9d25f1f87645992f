"""Slices, gathers and tensors made from numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from samedge.runtimes.mil.ops.arguments import flag, flags, integer, integers, number


def slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """NumPy's x[begin:end:stride]; a mask leaves its end open, or keeps one index and no axis."""
    starts, ends = integers(begin), integers(end)
    steps = [1] * x.ndim if stride is None else integers(stride)
    open_start, open_end = flags(begin_mask, x.ndim), flags(end_mask, x.ndim)
    squeezed = flags(squeeze_mask, x.ndim)
    for axis in range(x.ndim):
        if squeezed[axis]:
            first = starts[axis] % x.shape[axis]
            x = x.narrow(axis, first, 1)
            continue
        bounds = slice(
            None if open_start[axis] else starts[axis],
            None if open_end[axis] else ends[axis],
            steps[axis],
        )
        x = _take(x, axis, bounds)
    return x.reshape([n for n, drop in zip(x.shape, squeezed, strict=True) if not drop])


def _take(x: Tensor, axis: int, bounds: slice) -> Tensor:
    picked = range(*bounds.indices(x.shape[axis]))
    if picked.step == 1:
        return x.narrow(axis, picked.start, max(len(picked), 0))
    return x.index_select(axis, torch.tensor(list(picked), dtype=torch.int64))


def slice_by_size(x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    """``size`` elements from ``begin`` on; -1 means to the end."""
    for axis, (start, count) in enumerate(zip(integers(begin), integers(size), strict=True)):
        first = start % x.shape[axis] if x.shape[axis] else 0
        x = x.narrow(axis, first, x.shape[axis] - first if count == -1 else count)
    return x


def gather(
    x: Tensor,
    indices: Tensor,
    axis: Tensor | int = 0,
    batch_dims: Tensor | int = 0,
    validate_indices: Tensor | bool = False,
) -> Tensor:
    """Entries of ``axis`` in the order of ``indices``; negative ones count from the end."""
    del validate_indices  # torch always validates
    at, batch = integer(axis) % x.ndim, integer(batch_dims)
    wrapped = torch.where(indices < 0, indices + x.shape[at], indices).long()
    if batch:
        rows = [
            gather(row, index, axis=at - 1, batch_dims=batch - 1)
            for row, index in zip(x, wrapped, strict=True)
        ]
        return torch.stack(rows)
    picked = x.index_select(at, wrapped.reshape(-1))
    return picked.reshape(*x.shape[:at], *indices.shape, *x.shape[at + 1 :])


def gather_along_axis(
    x: Tensor, indices: Tensor, axis: Tensor | int = 0, validate_indices: Tensor | bool = False
) -> Tensor:
    """NumPy's take_along_axis."""
    del validate_indices
    at = integer(axis)
    wrapped = torch.where(indices < 0, indices + x.shape[at], indices).long()
    return torch.take_along_dim(x, wrapped, dim=at)


def shape(x: Tensor) -> Tensor:
    """The sizes of x."""
    return torch.tensor(list(x.shape), dtype=torch.int32)


def fill(shape: Tensor, value: Tensor | float = 0.0) -> Tensor:
    """A tensor of one value."""
    element = value if isinstance(value, Tensor) else torch.tensor(value)
    return element.reshape(()).expand(integers(shape)).clone()


def fill_like(ref_tensor: Tensor, value: Tensor | float = 0.0) -> Tensor:
    """A tensor of one value in the shape of another."""
    element = value if isinstance(value, Tensor) else torch.tensor(value)
    return element.reshape(()).expand(ref_tensor.shape).clone()


def range_1d(start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    """start, start + step, ... below end."""
    if start.is_floating_point():
        return torch.arange(number(start), number(end), number(step))
    return torch.arange(integer(start), integer(end), integer(step), dtype=torch.int32)


def one_hot(
    indices: Tensor,
    one_hot_vector_size: Tensor,
    axis: Tensor | int = -1,
    on_value: Tensor | int = 1,
    off_value: Tensor | int = 0,
) -> Tensor:
    """A new axis that holds on_value at the index and off_value elsewhere."""
    at = integer(axis)
    classes = torch.arange(integer(one_hot_vector_size))
    hot = (indices.long().unsqueeze(-1) == classes).movedim(-1, at)
    on, off = torch.as_tensor(on_value), torch.as_tensor(off_value)
    return torch.where(hot, on, off)


def cumsum(
    x: Tensor,
    axis: Tensor | int = 0,
    exclusive: Tensor | bool = False,
    reverse: Tensor | bool = False,
) -> Tensor:
    """Running sum; ``exclusive`` leaves the element itself out, ``reverse`` starts at the end."""
    at = integer(axis)
    forward = x.flip(at) if flag(reverse) else x
    total = torch.cumsum(forward, dim=at, dtype=x.dtype)
    if flag(exclusive):
        total = total - forward
    return total.flip(at) if flag(reverse) else total


def band_part(x: Tensor, lower: Tensor | int = -1, upper: Tensor | int = -1) -> Tensor:
    """Keep ``lower`` diagonals below and ``upper`` above the main one; -1 keeps all."""
    below, above = integer(lower), integer(upper)
    x = x if below < 0 else torch.triu(x, -below)
    return x if above < 0 else torch.tril(x, above)


def reverse(x: Tensor, axes: Tensor | Sequence[int] | None = None) -> Tensor:
    """Turn axes around; all of them by default."""
    return x.flip(list(range(x.ndim)) if axes is None else integers(axes))


OPS = {
    "band_part": band_part,
    "cumsum": cumsum,
    "fill": fill,
    "fill_like": fill_like,
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "one_hot": one_hot,
    "range_1d": range_1d,
    "reverse": reverse,
    "shape": shape,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
}
