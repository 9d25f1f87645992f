"""Activations in eight bits: ``quantize`` and ``dequantize`` of iOS 17."""

from __future__ import annotations

import torch
from torch import Tensor

from samedge.errors import InferenceError
from samedge.runtimes.mil.ops.arguments import integer

_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def _along(vector: Tensor, axis: Tensor | None, rank: int) -> Tensor:
    if vector.ndim == 0 or axis is None:
        return vector
    shape = [1] * rank
    shape[integer(axis)] = -1
    return vector.reshape(shape)


def quantize(
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: Tensor | None = None,
) -> Tensor:
    """clip(round(input / scale) + zero_point) in the range of the integer type."""
    if output_dtype not in _RANGES:
        raise InferenceError(f"quantize gives {output_dtype!r}, expected int8 or uint8.")
    low, high = _RANGES[output_dtype]
    steps = torch.round(input / _along(scale, axis, input.ndim))
    if zero_point is not None:
        steps = steps + _along(zero_point, axis, input.ndim)
    return steps.clamp(low, high).int()


def dequantize(
    input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: Tensor | None = None
) -> Tensor:
    """scale (input - zero_point)."""
    steps = input.float()
    if zero_point is not None:
        steps = steps - _along(zero_point.float(), axis, input.ndim)
    return _along(scale, axis, input.ndim) * steps


OPS = {"dequantize": dequantize, "quantize": quantize}
