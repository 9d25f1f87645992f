"""Convolution, transposed convolution and pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from samedge.errors import InferenceError
from samedge.runtimes.mil.ops.arguments import flag, integer, integers

_CONV: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
_MAX_POOL: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
Sizes = Tensor | Sequence[int] | None


def _ones(value: Sizes, rank: int) -> list[int]:
    return [1] * rank if value is None else integers(value)


def _same(size: int, kernel: int, stride: int, *, lower: bool) -> tuple[int, int]:
    """Padding that makes the output ceil(size / stride) long; the odd pixel goes to one side."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def _padding(
    sizes: Sequence[int],
    spans: Sequence[int],
    strides: Sequence[int],
    mode: tuple[str, Sizes],
) -> list[tuple[int, int]]:
    """(before, after) a spatial axis; ``spans`` are kernel sizes with their dilation."""
    pad_type, pad = mode
    rank = len(sizes)
    if pad_type == "valid":
        return [(0, 0)] * rank
    if pad_type in ("same", "same_lower"):
        lower = pad_type == "same_lower"
        return [_same(n, k, s, lower=lower) for n, k, s in zip(sizes, spans, strides, strict=True)]
    if pad_type == "custom" and pad is not None:
        flat = integers(pad)
        return [(flat[2 * i], flat[2 * i + 1]) for i in range(rank)]
    raise InferenceError(
        f"pad_type is {pad_type!r} with pad {pad}, "
        "expected valid, same, same_lower, or custom with its pad."
    )


def _pad(x: Tensor, padding: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    if not any(before or after for before, after in padding):
        return x
    flat = [n for pair in reversed(padding) for n in pair]
    return functional.pad(x, flat, value=value)


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Sizes = None,
    pad_type: str = "valid",
    pad: Sizes = None,
    dilations: Sizes = None,
    groups: Tensor | int = 1,
) -> Tensor:
    """Convolution in one to three spatial axes; weight is (C_out, C_in / groups, ...)."""
    rank = x.ndim - 2
    stride, dilation = _ones(strides, rank), _ones(dilations, rank)
    spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    padding = _padding(x.shape[2:], spans, stride, (pad_type, pad))
    inner = [before for before, _ in padding]
    if any(before != after for before, after in padding):
        x, inner = _pad(x, padding), [0] * rank
    return _CONV[rank](x, weight, bias, stride, inner, dilation, integer(groups))


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Sizes = None,
    output_shape: Sizes = None,
    pad_type: str = "valid",
    strides: Sizes = None,
    dilations: Sizes = None,
    groups: Tensor | int = 1,
) -> Tensor:
    """Transposed convolution; weight is (C_in, C_out / groups, ...); pad crops the result."""
    rank = x.ndim - 2
    stride, dilation = _ones(strides, rank), _ones(dilations, rank)
    full = _CONV_TRANSPOSE[rank](x, weight, bias, stride, 0, 0, integer(groups), dilation)
    if output_shape is not None:
        wanted = integers(output_shape)[-rank:]
    elif pad_type == "same":
        wanted = [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
    else:
        wanted = None
    return _crop(full, wanted, (pad_type, pad))


def _crop(full: Tensor, wanted: list[int] | None, mode: tuple[str, Sizes]) -> Tensor:
    """Cut the full result of a transposed convolution to what the padding leaves."""
    pad_type, pad = mode
    rank = full.ndim - 2
    sizes = list(full.shape[2:])
    if pad_type == "custom" and pad is not None:
        flat = integers(pad)
        starts = flat[0::2]
        ends = [n - after for n, after in zip(sizes, flat[1::2], strict=True)]
        if wanted is not None:
            ends = [start + want for start, want in zip(starts, wanted, strict=True)]
    else:
        ends = sizes if wanted is None else wanted
        starts = [max(n - w, 0) // 2 for n, w in zip(sizes, ends, strict=True)]
        ends = [start + w for start, w in zip(starts, ends, strict=True)]
    extra = [(0, max(end - n, 0)) for end, n in zip(ends, sizes, strict=True)]
    full = _pad(full, extra)
    for axis in range(rank):
        full = full.narrow(axis + 2, starts[axis], ends[axis] - starts[axis])
    return full


def _pool_padding(
    x: Tensor, kernel: list[int], stride: list[int], mode: tuple[str, Sizes], *, ceil: bool
) -> list[tuple[int, int]]:
    padding = _padding(x.shape[2:], kernel, stride, mode)
    if not ceil:
        return padding
    grown = []
    for size, k, s, (before, after) in zip(x.shape[2:], kernel, stride, padding, strict=True):
        missing = (size + before + after - k) % s
        grown.append((before, after + (s - missing if missing else 0)))
    return grown


def max_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Sizes = None,
    pad_type: str = "valid",
    pad: Sizes = None,
    ceil_mode: Tensor | bool = False,
) -> Tensor:
    """Maximum of each window; padding never wins."""
    kernel, rank = integers(kernel_sizes), x.ndim - 2
    stride = _ones(strides, rank)
    padding = _pool_padding(x, kernel, stride, (pad_type, pad), ceil=flag(ceil_mode))
    return _MAX_POOL[rank](_pad(x, padding, value=float("-inf")), kernel, stride)


def avg_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Sizes = None,
    pad_type: str = "valid",
    pad: Sizes = None,
    exclude_padding_from_average: Tensor | bool = False,
    ceil_mode: Tensor | bool = False,
) -> Tensor:
    """Mean of each window, with or without the padding in the count."""
    kernel, rank = integers(kernel_sizes), x.ndim - 2
    stride = _ones(strides, rank)
    padding = _pool_padding(x, kernel, stride, (pad_type, pad), ceil=flag(ceil_mode))
    box = torch.ones((1, 1, *kernel))
    counted = torch.ones((1, 1, *x.shape[2:]))
    planes = x.reshape(-1, 1, *x.shape[2:])
    sums = _CONV[rank](_pad(planes, padding), box, None, stride)
    fill = 0.0 if flag(exclude_padding_from_average) else 1.0
    counts = _CONV[rank](_pad(counted, padding, value=fill), box, None, stride)
    return (sums / counts).reshape(*x.shape[:2], *sums.shape[2:])


OPS = {"avg_pool": avg_pool, "conv": conv, "conv_transpose": conv_transpose, "max_pool": max_pool}
