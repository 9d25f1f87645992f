"""Sums, means and extremes along axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from samedge.runtimes.mil.ops.arguments import flag, integer, integers

Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _over(reduce: Reduce) -> Callable[..., Tensor]:
    def apply(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | bool = False) -> Tensor:
        places = tuple(range(x.ndim)) if axes is None else tuple(integers(axes))
        return reduce(x, places, flag(keep_dims))

    return apply


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = torch.prod(x, dim=axis, keepdim=keep, dtype=x.dtype)
    return x


def reduce_argmax(
    x: Tensor,
    axis: Tensor | int = -1,
    keep_dims: Tensor | bool = False,
    output_dtype: str = "int32",
) -> Tensor:
    """Index of the largest element."""
    del output_dtype  # every integer is int32 here
    return torch.argmax(x, dim=integer(axis), keepdim=flag(keep_dims)).int()


def reduce_argmin(
    x: Tensor,
    axis: Tensor | int = -1,
    keep_dims: Tensor | bool = False,
    output_dtype: str = "int32",
) -> Tensor:
    """Index of the smallest element."""
    del output_dtype
    return torch.argmin(x, dim=integer(axis), keepdim=flag(keep_dims)).int()


OPS: dict[str, Callable[..., Tensor]] = {
    "reduce_argmax": reduce_argmax,
    "reduce_argmin": reduce_argmin,
    "reduce_l1_norm": _over(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "reduce_l2_norm": _over(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    "reduce_log_sum_exp": _over(lambda x, axes, keep: torch.logsumexp(x, axes, keep)),
    "reduce_max": _over(lambda x, axes, keep: torch.amax(x, axes, keep)),
    "reduce_mean": _over(lambda x, axes, keep: x.mean(axes, keep)),
    "reduce_min": _over(lambda x, axes, keep: torch.amin(x, axes, keep)),
    "reduce_prod": _over(_product),
    "reduce_sum": _over(lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype)),
    "reduce_sum_square": _over(lambda x, axes, keep: x.square().sum(axes, keep)),
}
