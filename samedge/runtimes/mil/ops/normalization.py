"""Normalisation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from samedge.runtimes.mil.ops.arguments import integers, number


def _channelwise(vector: Tensor, rank: int) -> Tensor:
    return vector.reshape(1, -1, *([1] * (rank - 2)))


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | float = 1e-5,
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, a channel (axis 1)."""
    factor = torch.rsqrt(variance + number(epsilon))
    factor = factor if gamma is None else factor * gamma
    result = (x - _channelwise(mean, x.ndim)) * _channelwise(factor, x.ndim)
    return result if beta is None else result + _channelwise(beta, x.ndim)


def instance_norm(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | float = 1e-5,
) -> Tensor:
    """Mean and variance over the spatial axes of each channel."""
    return functional.instance_norm(x, weight=gamma, bias=beta, eps=number(epsilon))


def layer_norm(
    x: Tensor,
    axes: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | float = 1e-5,
) -> Tensor:
    """Mean and variance over ``axes``; gamma and beta have exactly those axes."""
    places = sorted(a % x.ndim for a in integers(axes)) if axes is not None else range(x.ndim)
    centered = x - x.mean(dim=tuple(places), keepdim=True)
    variance = centered.square().mean(dim=tuple(places), keepdim=True)
    result = centered * torch.rsqrt(variance + number(epsilon))
    sizes = [n if i in places else 1 for i, n in enumerate(x.shape)]
    if gamma is not None:
        result = result * gamma.reshape(sizes)
    return result if beta is None else result + beta.reshape(sizes)


def l2_norm(x: Tensor, epsilon: Tensor | float = 1e-6) -> Tensor:
    """x / sqrt(sum of squares over the last three axes + epsilon)."""
    total = x.square().sum(dim=(-3, -2, -1), keepdim=True)
    return x * torch.rsqrt(total + number(epsilon))


OPS = {
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "l2_norm": l2_norm,
    "layer_norm": layer_norm,
}
