"""Matrix products and attention."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from samedge.runtimes.mil.ops.arguments import flag, several


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias."""
    return functional.linear(x, weight, bias)


def matmul(
    x: Tensor, y: Tensor, transpose_x: Tensor | bool = False, transpose_y: Tensor | bool = False
) -> Tensor:
    """Batched matrix product, either side transposed in its last two axes."""
    left = x.transpose(-1, -2) if flag(transpose_x) else x
    right = y.transpose(-1, -2) if flag(transpose_y) else y
    return torch.matmul(left, right)


def einsum(values: tuple[Tensor, ...], equation: str) -> Tensor:
    """Einstein summation of two tensors."""
    result: Tensor = torch.einsum(equation, *several(values))
    return result


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """softmax(query key^T / sqrt(E) + mask) value; a bool mask says who takes part."""
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask)


OPS = {
    "einsum": einsum,
    "linear": linear,
    "matmul": matmul,
    "scaled_dot_product_attention": scaled_dot_product_attention,
}
