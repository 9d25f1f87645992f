"""Compressed constants: the ``constexpr_*`` operations of iOS 16 and iOS 18.

Two of them share one name and differ in their parameters: iOS 16 packs the bits by itself and
gives a ``shape``; iOS 18 has types of less than a byte, tables a block, and vectors as entries.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samedge.runtimes.mil.blob import unpack_bits
from samedge.runtimes.mil.ops.arguments import integer, integers


def _along(axis: int, vector: Tensor, rank: int) -> Tensor:
    """A scalar or vector in the shape that broadcasts along ``axis`` of ``rank`` axes."""
    if vector.ndim == 0:
        return vector
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def _spread(values: Tensor, shape: torch.Size) -> Tensor:
    """Repeat each value over its block, so that the result has ``shape``."""
    for axis, (have, want) in enumerate(zip(values.shape, shape, strict=True)):
        if have not in (1, want):
            values = values.repeat_interleave(want // have, dim=axis)
    return values


def _unpacked(packed: Tensor, bits: int, count: int) -> Tensor:
    numbers = unpack_bits(packed.to(torch.uint8).numpy(), bits, count)
    return torch.from_numpy(numbers.astype(np.int64))


def constexpr_affine_dequantize(
    quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor
) -> Tensor:
    """scale (data - zero_point), one scale or one a slice along ``axis``."""
    rank, at = quantized_data.ndim, integer(axis)
    shifted = quantized_data.float() - _along(at, zero_point.float(), rank)
    return _along(at, scale, rank) * shifted


def constexpr_blockwise_shift_scale(
    data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> Tensor:
    """scale (data - offset); the size of a block is data.shape / scale.shape along each axis."""
    values = data.float()
    if offset is not None:
        values = values - _spread(offset.float(), data.shape)
    return _spread(scale, data.shape) * values


def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """fp16 weights read as fp32; only "fp32" exists."""
    del output_dtype  # the declared type says the same
    return source_val


def constexpr_lut_to_dense(
    indices: Tensor,
    lut: Tensor,
    shape: Tensor | None = None,
    vector_axis: Tensor | None = None,
) -> Tensor:
    """Palette: each index is replaced by its entry of the table."""
    if shape is not None:  # iOS 16: one table, indices packed into bytes
        sizes = integers(shape)
        bits = int(lut.numel()).bit_length() - 1
        flat = _unpacked(indices, bits, int(np.prod(sizes, dtype=np.int64)))
        return lut[flat].reshape(sizes)
    return _block_lookup(indices.long(), lut, vector_axis)


def _block_lookup(indices: Tensor, lut: Tensor, vector_axis: Tensor | None) -> Tensor:
    """iOS 18: ``lut`` is (blocks along each axis..., entries, vector size)."""
    rank, (entries, size) = indices.ndim, lut.shape[-2:]
    block = torch.arange(lut[..., 0, 0].numel()).reshape(lut.shape[:rank])
    flat = (_spread(block, indices.shape) * entries + indices).expand(indices.shape)
    values = lut.reshape(-1, size)[flat]
    if size == 1:
        return values[..., 0]
    at = integer(vector_axis if vector_axis is not None else 0) % rank
    moved = values.movedim(-1, at + 1)
    return moved.flatten(at, at + 1)


def constexpr_sparse_to_dense(
    nonzero_data: Tensor, mask: Tensor, shape: Tensor | None = None
) -> Tensor:
    """Zeros, with the given values where the mask is set."""
    if shape is not None:  # iOS 16: a packed bit mask
        sizes = integers(shape)
        bits = _unpacked(mask, 1, int(np.prod(sizes, dtype=np.int64)))
        mask = bits.reshape(sizes)
    dense = torch.zeros(mask.shape, dtype=nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return dense


def constexpr_lut_to_sparse(
    indices_mask: Tensor,
    indices_nonzero_data: Tensor,
    lut: Tensor,
    vector_axis: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Palette on sparse data: the mask, and the values where it is set."""
    indices = constexpr_sparse_to_dense(indices_nonzero_data, indices_mask)
    dense = _block_lookup(indices.long(), lut, vector_axis)
    mask = indices_mask
    if lut.shape[-1] > 1:
        at = integer(vector_axis if vector_axis is not None else 0)
        mask = mask.repeat_interleave(int(lut.shape[-1]), dim=at)
    return mask, dense[mask != 0]


def constexpr_sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Blockwise dequantization of sparse data: the mask, and the values where it is set."""
    dense = constexpr_sparse_to_dense(nonzero_data, data_mask)
    values = constexpr_blockwise_shift_scale(dense, scale, offset)
    return data_mask, values[data_mask != 0]


OPS = {
    "constexpr_affine_dequantize": constexpr_affine_dequantize,
    "constexpr_blockwise_shift_scale": constexpr_blockwise_shift_scale,
    "constexpr_cast": constexpr_cast,
    "constexpr_lut_to_dense": constexpr_lut_to_dense,
    "constexpr_lut_to_sparse": constexpr_lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": constexpr_sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": constexpr_sparse_to_dense,
}
