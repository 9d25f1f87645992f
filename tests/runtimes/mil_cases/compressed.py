"""Quantization and constants that are stored compressed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.runtimes.mil_cases.case import Case
from tests.runtimes.mil_cases.operands import (
    BLOCK_SCALE,
    G8,
    GROUP_LUT,
    INDEX16,
    INDEX64,
    INT8,
    LUT16,
    LUT64,
    MASK,
    SCALE4,
    VECTOR_LUT,
    ZERO4,
)

torch = pytest.importorskip("torch")


def packed(indices: np.ndarray, bits: int) -> np.ndarray:
    digits = ((indices[:, None] >> np.arange(bits)) & 1).astype(np.uint8)
    return np.packbits(digits.reshape(-1), bitorder="little")


def narrow(values: np.ndarray, name: str) -> np.ndarray:
    """Mark an array as one of coremltools' types of less than a byte."""
    from coremltools.converters.mil.mil import types

    return values.astype(types.nptype_from_builtin(getattr(types, name)))


def random_like_mask() -> np.ndarray:
    return np.linspace(-1, 1, int(MASK.sum())).astype(np.float32)


def dense(values: np.ndarray) -> np.ndarray:
    dense = np.zeros(32, values.dtype)
    dense[MASK == 1] = values
    return dense.reshape(4, 8)


def sparse_indices() -> np.ndarray:
    picked: np.ndarray = INDEX16[MASK == 1]
    return picked


def sparse_palette(mb: Any) -> Any:
    mask, values = mb.constexpr_lut_to_sparse(
        indices_mask=narrow(MASK.reshape(4, 8), "uint1"),
        indices_nonzero_data=narrow(sparse_indices(), "uint4"),
        lut=LUT16.reshape(1, 1, 16, 1),
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)


def sparse_blocks(mb: Any) -> Any:
    mask, values = mb.constexpr_sparse_blockwise_shift_scale(
        data_mask=narrow(MASK.reshape(4, 8), "uint1"),
        nonzero_data=INT8.reshape(-1)[MASK == 1],
        scale=BLOCK_SCALE,
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)


CASES = [
    # quantization and compressed constants
    Case(
        "quantize",
        lambda mb, x: mb.cast(
            x=mb.quantize(
                input=x, scale=SCALE4 / 20, zero_point=ZERO4, axis=1, output_dtype="int8"
            ),
            dtype="fp32",
        ),
        lambda x: torch.tensor(
            np.clip(
                np.round(x.numpy() / (SCALE4 / 20)[:, None, None]) + ZERO4[:, None, None],
                -128,
                127,
            )
        ),
    ),
    Case(
        "dequantize",
        lambda mb, x: mb.dequantize(
            input=mb.quantize(
                input=x, scale=np.float32(0.05), zero_point=np.uint8(100), output_dtype="uint8"
            ),
            scale=np.float32(0.05),
            zero_point=np.uint8(100),
        ),
        lambda x: torch.fake_quantize_per_tensor_affine(x, 0.05, 100, 0, 255),
    ),
    Case(
        "constexpr_affine_dequantize",
        lambda mb, x: mb.add(
            x=x,
            y=mb.constexpr_affine_dequantize(
                quantized_data=INT8, zero_point=ZERO4, scale=SCALE4, axis=0
            ),
        ),
        lambda x: x + torch.tensor(SCALE4[:, None] * (INT8.astype(float) - ZERO4[:, None])).float(),
        shapes=((4, 8),),
    ),
    Case(
        "constexpr_cast",
        lambda mb, x: mb.add(
            x=x, y=mb.constexpr_cast(source_val=G8.astype(np.float16), output_dtype="fp32")
        ),
        lambda x: x + torch.tensor(G8).half().float(),
    ),
    Case(
        "constexpr_lut_to_dense",
        lambda mb, x: mb.add(
            x=x,
            y=mb.constexpr_lut_to_dense(
                indices=packed(INDEX64, 6), lut=LUT64, shape=np.array([4, 8], np.uint32)
            ),
        ),
        lambda x: x + torch.tensor(LUT64[INDEX64].reshape(4, 8)),
        shapes=((4, 8),),
        note="6 bits",
    ),
    Case(
        "constexpr_lut_to_dense",
        lambda mb, x: mb.add(
            x=x,
            y=mb.constexpr_lut_to_dense(
                indices=narrow(INDEX16.reshape(4, 8), "uint4"), lut=GROUP_LUT
            ),
        ),
        lambda x: (
            x
            + torch.tensor(
                np.stack([GROUP_LUT[i // 2, 0, INDEX16.reshape(4, 8)[i], 0] for i in range(4)])
            )
        ),
        shapes=((4, 8),),
        opset="iOS18",
        note="grouped",
    ),
    Case(
        "constexpr_lut_to_dense",
        lambda mb, x: mb.add(
            x=x,
            y=mb.constexpr_lut_to_dense(
                indices=narrow(INDEX16.reshape(4, 8), "uint4"), lut=VECTOR_LUT, vector_axis=0
            ),
        ),
        lambda x: (
            x
            + torch.tensor(VECTOR_LUT[0, 0][INDEX16.reshape(4, 8)].transpose(0, 2, 1).reshape(8, 8))
        ),
        shapes=((8, 8),),
        opset="iOS18",
        note="vectors",
    ),
    Case(
        "constexpr_sparse_to_dense",
        lambda mb, x: mb.add(
            x=x,
            y=mb.constexpr_sparse_to_dense(
                nonzero_data=random_like_mask(),
                mask=packed(MASK, 1),
                shape=np.array([4, 8], np.uint32),
            ),
        ),
        lambda x: x + torch.tensor(dense(random_like_mask())),
        shapes=((4, 8),),
    ),
    Case(
        "constexpr_blockwise_shift_scale",
        lambda mb, x: mb.add(
            x=x,
            y=mb.constexpr_blockwise_shift_scale(
                data=narrow(np.clip(INT8 // 16, -8, 7), "int4"), scale=BLOCK_SCALE
            ),
        ),
        lambda x: x + torch.tensor(np.clip(INT8 // 16, -8, 7) * np.repeat(BLOCK_SCALE, 4, axis=1)),
        shapes=((4, 8),),
        opset="iOS18",
    ),
    Case(
        "constexpr_lut_to_sparse",
        lambda mb, x: mb.add(x=x, y=sparse_palette(mb)),
        lambda x: x + torch.tensor(dense(LUT16[sparse_indices()])),
        shapes=((4, 8),),
        opset="iOS18",
    ),
    Case(
        "constexpr_sparse_blockwise_shift_scale",
        lambda mb, x: mb.add(x=x, y=sparse_blocks(mb)),
        lambda x: (
            x + torch.tensor(dense(INT8.reshape(-1)[MASK == 1]) * np.repeat(BLOCK_SCALE, 4, axis=1))
        ),
        shapes=((4, 8),),
        opset="iOS18",
    ),
]
