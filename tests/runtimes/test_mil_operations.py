"""Every operation of the mil backend by itself: built, saved, read back, compared with torch.

The packages come from coremltools' own builder, so parameter names, defaults and file format are
tested with the arithmetic.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from samedge.runtimes._mil import BACKEND  # noqa: E402 - after the import that may skip
from samedge.runtimes.mil.ops import operations  # noqa: E402
from samedge.runtimes.mil.package import read_package  # noqa: E402

RNG = np.random.default_rng(7)


def _random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


W = _random(6, 4, 3, 3)
WG = _random(6, 2, 3, 3)
WT = _random(4, 6, 2, 2)
W1 = _random(6, 8)
B6 = _random(6)
C4 = [_random(4) for _ in range(4)]
VAR4 = np.abs(_random(4)) + 0.1
G8, B8 = _random(8), _random(8)
INT8 = RNG.integers(-128, 128, (4, 8), dtype=np.int8)
UINT8 = RNG.integers(0, 256, (4, 8), dtype=np.uint8)
SCALE4 = (np.abs(_random(4)) + 0.05).astype(np.float32)
ZERO4 = RNG.integers(-10, 10, 4, dtype=np.int8)
LUT16 = _random(16)
INDEX16 = RNG.integers(0, 16, 32, dtype=np.uint8)
LUT64 = _random(64)
INDEX64 = RNG.integers(0, 64, 32, dtype=np.uint8)
MASK = RNG.integers(0, 2, 32, dtype=np.uint8)
BLOCK_SCALE = (np.abs(_random(4, 2)) + 0.1).astype(np.float32)
GROUP_LUT = _random(2, 1, 16, 1)
VECTOR_LUT = _random(1, 1, 16, 2)


def _packed(indices: np.ndarray, bits: int) -> np.ndarray:
    digits = ((indices[:, None] >> np.arange(bits)) & 1).astype(np.uint8)
    return np.packbits(digits.reshape(-1), bitorder="little")


@dataclasses.dataclass(frozen=True)
class Case:
    """One operation with one set of parameters."""

    kind: str
    build: Callable[..., Any]
    reference: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...] = ((1, 4, 9, 8),)
    positive: bool = False
    opset: str = "iOS17"
    note: str = ""


def _unary(kind: str, reference: Callable[..., Any], *, positive: bool = False) -> Case:
    return Case(kind, lambda mb, x: getattr(mb, kind)(x=x), reference, positive=positive)


def _binary(kind: str, reference: Callable[..., Any], *, positive: bool = False) -> Case:
    return Case(
        kind,
        lambda mb, x, y: getattr(mb, kind)(x=x, y=y),
        reference,
        shapes=((2, 3, 4), (3, 1)),
        positive=positive,
    )


def _compare(kind: str, reference: Callable[..., Any]) -> Case:
    return Case(
        kind,
        lambda mb, x, y: mb.cast(
            x=getattr(mb, kind)(x=mb.round(x=x), y=mb.round(x=y)), dtype="fp32"
        ),
        lambda x, y: reference(x.round(), y.round()).float(),
        shapes=((5, 6), (5, 6)),
    )


def _logical(kind: str, reference: Callable[..., Any]) -> Case:
    def build(mb: Any, x: Any, y: Any) -> Any:
        left, right = mb.greater(x=x, y=0.0), mb.greater(x=y, y=0.0)
        return mb.cast(x=getattr(mb, kind)(x=left, y=right), dtype="fp32")

    return Case(kind, build, lambda x, y: reference(x > 0, y > 0).float(), shapes=((5, 6), (5, 6)))


def _reduce(kind: str, reference: Callable[..., Any], *, positive: bool = False) -> Case:
    return Case(
        kind,
        lambda mb, x: getattr(mb, kind)(x=x, axes=[1, -1], keep_dims=True),
        reference,
        shapes=((2, 3, 4, 5),),
        positive=positive,
    )


def _resize_points(mode: str, size: int, count: int) -> Any:
    """The sampling points as Apple's documentation of resize_bilinear lists them."""
    index = np.arange(count)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points: Any = index * (size - 1) / (count - 1)
    elif mode == "DEFAULT":
        points = index * (size - size / count) / (count - 1)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / count
        points = 0.5 * delta + index * delta
    else:
        points = index * size / count + 0.5 * size / count - 0.5
    return np.clip(points, 0, size - 1)


def _resized(x: Any, mode: str, height: int, width: int) -> Any:
    for axis, count in ((-2, height), (-1, width)):
        size = x.shape[axis]
        rows = [
            np.interp(_resize_points(mode, size, count), np.arange(size), np.eye(size)[i])
            for i in range(size)
        ]
        x = torch.tensor(np.tensordot(x.numpy(), np.array(rows), axes=([axis], [0])))
        x = x.movedim(-1, axis)
    return x


def _resize_case(mode: str) -> Case:
    return Case(
        "resize_bilinear",
        lambda mb, x: mb.resize_bilinear(
            x=x, target_size_height=13, target_size_width=5, sampling_mode=mode
        ),
        lambda x: _resized(x, mode, 13, 5),
        note=mode,
    )


CASES = [
    # activations
    Case("gelu", lambda mb, x: mb.gelu(x=x, mode="EXACT"), F.gelu, note="exact"),
    Case(
        "gelu",
        lambda mb, x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        lambda x: F.gelu(x, approximate="tanh"),
        note="tanh",
    ),
    Case(
        "gelu",
        lambda mb, x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"),
        lambda x: x / (1 + torch.exp(-1.702 * x)),
        note="sigmoid",
    ),
    _unary("relu", lambda x: x.clamp(min=0)),
    Case("relu6", lambda mb, x: mb.relu6(x=mb.mul(x=x, y=9.0)), lambda x: (9 * x).clamp(0, 6)),
    Case(
        "clamped_relu",
        lambda mb, x: mb.clamped_relu(x=x, alpha=0.3, beta=0.8),
        lambda x: F.leaky_relu(x, 0.3).clamp(max=0.8),
    ),
    Case("leaky_relu", lambda mb, x: mb.leaky_relu(x=x, alpha=0.2), lambda x: F.leaky_relu(x, 0.2)),
    Case(
        "prelu",
        lambda mb, x: mb.prelu(x=x, alpha=C4[0]),
        lambda x: F.prelu(x, torch.tensor(C4[0])),
    ),
    Case("elu", lambda mb, x: mb.elu(x=x, alpha=0.7), lambda x: F.elu(x, 0.7)),
    _unary("sigmoid", torch.sigmoid),
    Case(
        "sigmoid_hard",
        lambda mb, x: mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5),
        F.hardsigmoid,
    ),
    _unary("silu", F.silu),
    _unary("softplus", F.softplus),
    _unary("softsign", F.softsign),
    Case(
        "linear_activation",
        lambda mb, x: mb.linear_activation(x=x, alpha=1.5, beta=-2.0),
        lambda x: 1.5 * x - 2,
    ),
    Case(
        "scaled_tanh",
        lambda mb, x: mb.scaled_tanh(x=x, alpha=1.7, beta=0.6),
        lambda x: 1.7 * torch.tanh(0.6 * x),
    ),
    Case("softmax", lambda mb, x: mb.softmax(x=x, axis=1), lambda x: F.softmax(x, 1)),
    _unary("erf", torch.erf),
    _unary("tanh", torch.tanh),
    # products
    Case(
        "linear",
        lambda mb, x: mb.linear(x=x, weight=W1, bias=B6),
        lambda x: x @ torch.tensor(W1).T + torch.tensor(B6),
    ),
    Case(
        "matmul",
        lambda mb, x, y: mb.matmul(x=x, y=y),
        lambda x, y: x @ y,
        shapes=((2, 3, 5), (5, 4)),
    ),
    Case(
        "matmul",
        lambda mb, x, y: mb.matmul(x=x, y=y, transpose_x=True, transpose_y=True),
        lambda x, y: x.transpose(1, 2) @ y.transpose(1, 2),
        shapes=((2, 5, 3), (2, 4, 5)),
        note="transposed",
    ),
    Case(
        "einsum",
        lambda mb, x, y: mb.einsum(values=(x, y), equation="nchw,nwhu->nchu"),
        lambda x, y: torch.einsum("nchw,nwhu->nchu", x, y),
        shapes=((2, 3, 4, 5), (2, 5, 4, 6)),
    ),
    Case(
        "scaled_dot_product_attention",
        lambda mb, q, k, v, m: mb.scaled_dot_product_attention(
            query=q, key=k, value=v, attn_mask=m
        ),
        lambda q, k, v, m: torch.softmax(q @ k.transpose(-1, -2) / 4**0.5 + m, -1) @ v,
        shapes=((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 7), (5, 6)),
        opset="iOS18",
    ),
    # convolution and pooling
    Case(
        "conv",
        lambda mb, x: mb.conv(
            x=x, weight=W, bias=B6, strides=[2, 1], pad_type="custom", pad=[1, 1, 2, 2]
        ),
        lambda x: F.conv2d(x, torch.tensor(W), torch.tensor(B6), (2, 1), (1, 2)),
        note="custom",
    ),
    Case(
        "conv",
        lambda mb, x: mb.conv(
            x=x, weight=WG, pad_type="custom", pad=[0, 2, 3, 1], dilations=[2, 1], groups=2
        ),
        lambda x: F.conv2d(F.pad(x, (3, 1, 0, 2)), torch.tensor(WG), None, 1, 0, (2, 1), groups=2),
        note="asymmetric, dilated, grouped",
    ),
    Case(
        "conv",
        lambda mb, x: mb.conv(x=x, weight=W, strides=[2, 2], pad_type="same"),
        lambda x: F.conv2d(F.pad(x, (0, 1, 1, 1)), torch.tensor(W), None, 2),
        note="same",
    ),
    Case(
        "conv",
        lambda mb, x: mb.conv(x=x, weight=W, strides=[2, 2], pad_type="same_lower"),
        lambda x: F.conv2d(F.pad(x, (1, 0, 1, 1)), torch.tensor(W), None, 2),
        note="same_lower",
    ),
    Case(
        "conv_transpose",
        lambda mb, x: mb.conv_transpose(x=x, weight=WT, bias=B6, strides=[2, 2]),
        lambda x: F.conv_transpose2d(x, torch.tensor(WT), torch.tensor(B6), 2),
        note="valid",
    ),
    Case(
        "conv_transpose",
        lambda mb, x: mb.conv_transpose(
            x=x, weight=W.transpose(1, 0, 2, 3), strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]
        ),
        lambda x: F.conv_transpose2d(x, torch.tensor(W.transpose(1, 0, 2, 3)), None, 2, 1),
        note="custom",
    ),
    Case(
        "conv_transpose",
        lambda mb, x: mb.conv_transpose(
            x=x,
            weight=W.transpose(1, 0, 2, 3),
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 0, 1, 0],
            output_shape=[1, 6, 18, 16],
        ),
        lambda x: F.conv_transpose2d(x, torch.tensor(W.transpose(1, 0, 2, 3)), None, 2, 1, 1),
        note="output padding",
    ),
    Case(
        "max_pool",
        lambda mb, x: mb.max_pool(
            x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]
        ),
        lambda x: F.max_pool2d(x, 3, 2, 1),
    ),
    Case(
        "max_pool",
        lambda mb, x: mb.max_pool(
            x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type="valid", ceil_mode=True
        ),
        lambda x: F.max_pool2d(x, (3, 2), 2, ceil_mode=True),
        shapes=((1, 4, 10, 8),),
        note="ceil",
    ),
    Case(
        "avg_pool",
        lambda mb, x: mb.avg_pool(
            x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]
        ),
        lambda x: F.avg_pool2d(x, 3, 2, 1),
    ),
    Case(
        "avg_pool",
        lambda mb, x: mb.avg_pool(
            x=x,
            kernel_sizes=[3, 3],
            strides=[1, 1],
            pad_type="custom",
            pad=[1, 1, 1, 1],
            exclude_padding_from_average=True,
        ),
        lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
        note="padding excluded",
    ),
    # arithmetic
    _binary("add", lambda x, y: x + y),
    _binary("sub", lambda x, y: x - y),
    _binary("mul", lambda x, y: x * y),
    _binary("real_div", lambda x, y: x / y, positive=True),
    _binary("floor_div", lambda x, y: torch.floor(x / y), positive=True),
    _binary("mod", lambda x, y: x - y * torch.floor(x / y), positive=True),
    _binary("pow", lambda x, y: torch.exp(y * torch.log(x)), positive=True),
    _binary("maximum", torch.maximum),
    _binary("minimum", torch.minimum),
    _compare("equal", torch.eq),
    _compare("not_equal", torch.ne),
    _compare("greater", torch.gt),
    _compare("greater_equal", torch.ge),
    _compare("less", torch.lt),
    _compare("less_equal", torch.le),
    _logical("logical_and", lambda x, y: x & y),
    _logical("logical_or", lambda x, y: x | y),
    _logical("logical_xor", lambda x, y: x ^ y),
    Case(
        "logical_not",
        lambda mb, x: mb.cast(x=mb.logical_not(x=mb.greater(x=x, y=0.0)), dtype="fp32"),
        lambda x: (x <= 0).float(),
    ),
    Case(
        "select",
        lambda mb, x, y: mb.select(cond=mb.greater(x=x, y=y), a=x, b=y),
        torch.maximum,
        shapes=((3, 4), (3, 4)),
    ),
    Case("clip", lambda mb, x: mb.clip(x=x, alpha=-0.5, beta=0.25), lambda x: x.clamp(-0.5, 0.25)),
    Case("threshold", lambda mb, x: mb.threshold(x=x, alpha=0.1), lambda x: x.clamp(min=0.1)),
    Case(
        "rsqrt",
        lambda mb, x: mb.rsqrt(x=x, epsilon=0.5),
        lambda x: (x + 0.5) ** -0.5,
        positive=True,
    ),
    Case(
        "inverse",
        lambda mb, x: mb.inverse(x=x, epsilon=0.5),
        lambda x: 1 / (x + 0.5),
        positive=True,
    ),
    Case(
        "log",
        lambda mb, x: mb.log(x=x, epsilon=0.5),
        lambda x: torch.log(x + 0.5),
        positive=True,
    ),
    Case("identity", lambda mb, x: mb.identity(x=x), lambda x: x),
    Case(
        "cast",
        lambda mb, x: mb.cast(x=mb.cast(x=mb.mul(x=x, y=5.0), dtype="int32"), dtype="fp32"),
        lambda x: torch.trunc(5 * x),
    ),
    _unary("abs", torch.abs),
    Case("acos", lambda mb, x: mb.acos(x=mb.tanh(x=x)), lambda x: torch.acos(torch.tanh(x))),
    Case("asin", lambda mb, x: mb.asin(x=mb.tanh(x=x)), lambda x: torch.asin(torch.tanh(x))),
    _unary("atan", torch.atan),
    _unary("ceil", torch.ceil),
    _unary("cos", torch.cos),
    _unary("cosh", torch.cosh),
    _unary("exp", torch.exp),
    _unary("exp2", lambda x: 2**x),
    _unary("floor", torch.floor),
    _unary("round", lambda x: torch.tensor(np.round(x.numpy()))),
    _unary("sign", torch.sign),
    _unary("sin", torch.sin),
    _unary("sinh", torch.sinh),
    _unary("sqrt", torch.sqrt, positive=True),
    _unary("square", lambda x: x * x),
    _unary("tan", torch.tan),
    # slices and gathers
    Case(
        "slice_by_index",
        lambda mb, x: mb.slice_by_index(
            x=x,
            begin=[0, 1, -2, 0],
            end=[0, 4, 0, 0],
            stride=[1, 2, -2, 3],
            begin_mask=[True, False, False, True],
            end_mask=[True, False, True, True],
        ),
        lambda x: x[:, 1:4:2].flip(2)[:, :, 1::2, ::3],
    ),
    Case(
        "slice_by_index",
        lambda mb, x: mb.slice_by_index(
            x=x,
            begin=[0, 2, 0, -3],
            end=[1, 3, 9, -1],
            squeeze_mask=[True, True, False, False],
        ),
        lambda x: x[0, 2, :, -3:-1],
        note="squeezed",
    ),
    Case(
        "slice_by_size",
        lambda mb, x: mb.slice_by_size(x=x, begin=[0, 1, 2, 3], size=[1, 2, -1, 4]),
        lambda x: x[:, 1:3, 2:, 3:7],
    ),
    Case(
        "gather",
        lambda mb, x: mb.gather(x=x, indices=np.array([[2, -1], [0, 0]], np.int32), axis=1),
        lambda x: x[:, [[2, 3], [0, 0]]],
    ),
    Case(
        "gather",
        lambda mb, x: mb.gather(
            x=x, indices=np.array([[2, 0], [1, 1]], np.int32), axis=1, batch_dims=1
        ),
        lambda x: torch.stack([x[0][[2, 0]], x[1][[1, 1]]]),
        shapes=((2, 3, 4),),
        note="batched",
    ),
    Case(
        "gather_along_axis",
        lambda mb, x: mb.gather_along_axis(
            x=x, indices=np.array([[2, 0], [1, -1], [0, 2]], np.int32), axis=1
        ),
        lambda x: torch.gather(x, 1, torch.tensor([[2, 0], [1, 3], [0, 2]])),
        shapes=((3, 4),),
    ),
    Case(
        "shape",
        lambda mb, x: mb.add(x=x, y=mb.cast(x=mb.shape(x=x), dtype="fp32")),
        lambda x: x + torch.tensor([1.0, 4, 9, 4]),
        shapes=((1, 4, 9, 4),),
    ),
    Case(
        "fill",
        lambda mb, x: mb.add(x=x, y=mb.fill(shape=[1, 4, 1, 1], value=2.5)),
        lambda x: x + 2.5,
    ),
    Case(
        "fill_like",
        lambda mb, x: mb.add(x=x, y=mb.fill_like(ref_tensor=x, value=-0.5)),
        lambda x: x - 0.5,
    ),
    Case(
        "range_1d",
        lambda mb, x: mb.add(x=x, y=mb.range_1d(start=1.0, end=17.0, step=2.0)),
        lambda x: x + torch.arange(1, 17, 2),
    ),
    Case(
        "one_hot",
        lambda mb, x: mb.mul(
            x=x,
            y=mb.one_hot(
                indices=np.array([1, 0, 2], np.int32),
                one_hot_vector_size=4,
                axis=0,
                on_value=2.0,
                off_value=-1.0,
            ),
        ),
        lambda x: x * (3.0 * F.one_hot(torch.tensor([1, 0, 2]), 4).T - 1),
        shapes=((4, 3),),
    ),
    Case(
        "cumsum",
        lambda mb, x: mb.cumsum(x=x, axis=2, exclusive=True, reverse=True),
        lambda x: x.flip(2).cumsum(2).flip(2) - x,
    ),
    Case(
        "band_part",
        lambda mb, x: mb.band_part(x=x, lower=1, upper=2),
        lambda x: torch.tril(torch.triu(x, -1), 2),
    ),
    Case("reverse", lambda mb, x: mb.reverse(x=x, axes=[1, -1]), lambda x: x.flip([1, 3])),
    # layout
    Case(
        "reshape",
        lambda mb, x: mb.reshape(x=x, shape=[0, 2, -1, 4]),
        lambda x: x.reshape(1, 2, 36, 4),
    ),
    Case(
        "transpose",
        lambda mb, x: mb.transpose(x=x, perm=[2, 0, 3, 1]),
        lambda x: x.permute(2, 0, 3, 1),
    ),
    Case(
        "expand_dims",
        lambda mb, x: mb.expand_dims(x=x, axes=[0, -1]),
        lambda x: x[None, ..., None],
        shapes=((3, 4),),
    ),
    Case(
        "squeeze",
        lambda mb, x: mb.squeeze(x=x, axes=[0, -1]),
        lambda x: x[0, ..., 0],
        shapes=((1, 3, 4, 1),),
    ),
    Case("flatten2d", lambda mb, x: mb.flatten2d(x=x, axis=2), lambda x: x.reshape(4, 72)),
    Case(
        "concat",
        lambda mb, x, y: mb.concat(values=(x, y), axis=1),
        lambda x, y: torch.cat([x, y], 1),
        shapes=((2, 3, 4), (2, 5, 4)),
    ),
    Case(
        "concat",
        lambda mb, x, y: mb.concat(values=(x, y), axis=1, interleave=True),
        lambda x, y: torch.stack([x, y], 2).reshape(2, 6, 4),
        shapes=((2, 3, 4), (2, 3, 4)),
        note="interleaved",
    ),
    Case(
        "stack",
        lambda mb, x, y: mb.stack(values=(x, y), axis=1),
        lambda x, y: torch.stack([x, y], 1),
        shapes=((2, 3), (2, 3)),
    ),
    Case(
        "split",
        lambda mb, x: mb.concat(values=mb.split(x=x, num_splits=2, axis=-1)[::-1], axis=-1),
        lambda x: torch.cat([x[..., 4:], x[..., :4]], -1),
    ),
    Case(
        "split",
        lambda mb, x: mb.split(x=x, split_sizes=[2, 5, 1], axis=3)[1],
        lambda x: x[..., 2:7],
        note="sizes",
    ),
    Case("tile", lambda mb, x: mb.tile(x=x, reps=[1, 2, 1, 3]), lambda x: x.repeat(1, 2, 1, 3)),
    Case(
        "pad",
        lambda mb, x: mb.pad(x=x, pad=[1, 2, 3, 0], mode="constant", constant_val=1.5),
        lambda x: F.pad(x, (3, 0, 1, 2), value=1.5),
    ),
    Case(
        "pad",
        lambda mb, x: mb.pad(x=x, pad=[1, 2, 3, 0], mode="reflect"),
        lambda x: F.pad(x, (3, 0, 1, 2), mode="reflect"),
        note="reflect",
    ),
    Case(
        "pad",
        lambda mb, x: mb.pad(x=x, pad=[1, 2, 3, 0], mode="replicate"),
        lambda x: F.pad(x, (3, 0, 1, 2), mode="replicate"),
        note="replicate",
    ),
    Case(
        "pixel_shuffle",
        lambda mb, x: mb.pixel_shuffle(x=x, upscale_factor=2),
        lambda x: F.pixel_shuffle(x, 2),
    ),
    Case(
        "pixel_unshuffle",
        lambda mb, x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        lambda x: F.pixel_unshuffle(x, 2),
        shapes=((1, 3, 6, 8),),
    ),
    Case(
        "depth_to_space",
        lambda mb, x: mb.depth_to_space(x=x, block_size=2),
        lambda x: (
            torch.stack(
                [torch.stack([x[:, 0:2], x[:, 2:4]], -1), torch.stack([x[:, 4:6], x[:, 6:8]], -1)],
                3,
            )
            .flatten(4, 5)
            .flatten(2, 3)
        ),
        shapes=((1, 8, 3, 5),),
    ),
    Case(
        "space_to_depth",
        lambda mb, x: mb.space_to_depth(x=x, block_size=2),
        lambda x: torch.cat(
            [x[..., 0::2, 0::2], x[..., 0::2, 1::2], x[..., 1::2, 0::2], x[..., 1::2, 1::2]], 1
        ),
        shapes=((1, 3, 6, 8),),
    ),
    # normalisation
    Case(
        "batch_norm",
        lambda mb, x: mb.batch_norm(
            x=x, mean=C4[0], variance=VAR4, gamma=C4[1], beta=C4[2], epsilon=0.01
        ),
        lambda x: F.batch_norm(
            x, *map(torch.tensor, (C4[0], VAR4, C4[1], C4[2])), training=False, eps=0.01
        ),
    ),
    Case(
        "instance_norm",
        lambda mb, x: mb.instance_norm(x=x, gamma=C4[1], beta=C4[2], epsilon=0.01),
        lambda x: F.group_norm(x, 4, torch.tensor(C4[1]), torch.tensor(C4[2]), 0.01),
    ),
    Case(
        "layer_norm",
        lambda mb, x: mb.layer_norm(x=x, axes=[-1], gamma=G8, beta=B8, epsilon=0.01),
        lambda x: F.layer_norm(x, (8,), torch.tensor(G8), torch.tensor(B8), 0.01),
    ),
    Case(
        "layer_norm",
        lambda mb, x: mb.layer_norm(x=x, axes=[1], gamma=C4[0], beta=C4[1], epsilon=0.01),
        lambda x: F.layer_norm(
            x.movedim(1, -1), (4,), torch.tensor(C4[0]), torch.tensor(C4[1]), 0.01
        ).movedim(-1, 1),
        note="channels",
    ),
    Case(
        "l2_norm",
        lambda mb, x: mb.l2_norm(x=x, epsilon=0.01),
        lambda x: x / (x.square().sum((1, 2, 3), keepdim=True) + 0.01).sqrt(),
    ),
    # reductions
    _reduce("reduce_sum", lambda x: x.sum((1, 3), keepdim=True)),
    _reduce("reduce_mean", lambda x: x.mean((1, 3), keepdim=True)),
    _reduce("reduce_max", lambda x: x.amax((1, 3), keepdim=True)),
    _reduce("reduce_min", lambda x: x.amin((1, 3), keepdim=True)),
    _reduce("reduce_prod", lambda x: x.prod(3, keepdim=True).prod(1, keepdim=True)),
    _reduce("reduce_l1_norm", lambda x: x.abs().sum((1, 3), keepdim=True)),
    _reduce("reduce_l2_norm", lambda x: torch.linalg.vector_norm(x, dim=(1, 3), keepdim=True)),
    _reduce("reduce_sum_square", lambda x: (x * x).sum((1, 3), keepdim=True)),
    _reduce("reduce_log_sum_exp", lambda x: x.exp().sum((1, 3), keepdim=True).log()),
    Case(
        "reduce_argmax",
        lambda mb, x: mb.cast(x=mb.reduce_argmax(x=x, axis=1), dtype="fp32"),
        lambda x: x.max(1).indices.float(),
    ),
    Case(
        "reduce_argmin",
        lambda mb, x: mb.cast(x=mb.reduce_argmin(x=x, axis=2, keep_dims=True), dtype="fp32"),
        lambda x: x.min(2, keepdim=True).indices.float(),
    ),
    # resizing
    *map(
        _resize_case,
        ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"),
    ),
    Case(
        "upsample_bilinear",
        lambda mb, x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=4, align_corners=False
        ),
        lambda x: F.interpolate(x, scale_factor=(2, 4), mode="bilinear", align_corners=False),
        note="half pixel",
    ),
    Case(
        "upsample_bilinear",
        lambda mb, x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=True
        ),
        lambda x: F.interpolate(x, scale_factor=(2, 3), mode="bilinear", align_corners=True),
        note="corners",
    ),
    Case(
        "upsample_nearest_neighbor",
        lambda mb, x: mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=2, scale_factor_width=3
        ),
        lambda x: F.interpolate(x, scale_factor=(2, 3), mode="nearest"),
    ),
    Case(
        "resize_nearest_neighbor",
        lambda mb, x: mb.resize_nearest_neighbor(x=x, target_size_height=4, target_size_width=12),
        lambda x: F.interpolate(x, size=(4, 12), mode="nearest"),
    ),
    Case(
        "resize",
        lambda mb, x: mb.resize(
            x=x,
            shape=[0, 12],
            resized_dims=np.uint32(2),
            interpolation_mode="LINEAR",
            sampling_mode="UNALIGN_CORNERS",
        ),
        lambda x: F.interpolate(x, size=(9, 12), mode="bilinear", align_corners=False),
    ),
    Case(
        "crop",
        lambda mb, x: mb.crop(x=x, crop_height=[1, 2], crop_width=[3, 1]),
        lambda x: x[:, :, 1:-2, 3:-1],
    ),
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
                indices=_packed(INDEX64, 6), lut=LUT64, shape=np.array([4, 8], np.uint32)
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
                indices=_narrow(INDEX16.reshape(4, 8), "uint4"), lut=GROUP_LUT
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
                indices=_narrow(INDEX16.reshape(4, 8), "uint4"), lut=VECTOR_LUT, vector_axis=0
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
                nonzero_data=_random_like_mask(),
                mask=_packed(MASK, 1),
                shape=np.array([4, 8], np.uint32),
            ),
        ),
        lambda x: x + torch.tensor(_dense(_random_like_mask())),
        shapes=((4, 8),),
    ),
    Case(
        "constexpr_blockwise_shift_scale",
        lambda mb, x: mb.add(
            x=x,
            y=mb.constexpr_blockwise_shift_scale(
                data=_narrow(np.clip(INT8 // 16, -8, 7), "int4"), scale=BLOCK_SCALE
            ),
        ),
        lambda x: x + torch.tensor(np.clip(INT8 // 16, -8, 7) * np.repeat(BLOCK_SCALE, 4, axis=1)),
        shapes=((4, 8),),
        opset="iOS18",
    ),
    Case(
        "constexpr_lut_to_sparse",
        lambda mb, x: mb.add(x=x, y=_sparse_palette(mb)),
        lambda x: x + torch.tensor(_dense(LUT16[_sparse_indices()])),
        shapes=((4, 8),),
        opset="iOS18",
    ),
    Case(
        "constexpr_sparse_blockwise_shift_scale",
        lambda mb, x: mb.add(x=x, y=_sparse_blocks(mb)),
        lambda x: (
            x
            + torch.tensor(_dense(INT8.reshape(-1)[MASK == 1]) * np.repeat(BLOCK_SCALE, 4, axis=1))
        ),
        shapes=((4, 8),),
        opset="iOS18",
    ),
]

NAMED = {
    f"case_{case.kind}_{case.note}".strip("_").replace(", ", "_").replace(" ", "_"): case
    for case in CASES
}
assert len(NAMED) == len(CASES), "two cases share a name"


def _narrow(values: np.ndarray, name: str) -> np.ndarray:
    """Mark an array as one of coremltools' types of less than a byte."""
    from coremltools.converters.mil.mil import types

    return values.astype(types.nptype_from_builtin(getattr(types, name)))


def _random_like_mask() -> np.ndarray:
    return np.linspace(-1, 1, int(MASK.sum())).astype(np.float32)


def _dense(values: np.ndarray) -> np.ndarray:
    dense = np.zeros(32, values.dtype)
    dense[MASK == 1] = values
    return dense.reshape(4, 8)


def _sparse_indices() -> np.ndarray:
    picked: np.ndarray = INDEX16[MASK == 1]
    return picked


def _sparse_palette(mb: Any) -> Any:
    mask, values = mb.constexpr_lut_to_sparse(
        indices_mask=_narrow(MASK.reshape(4, 8), "uint1"),
        indices_nonzero_data=_narrow(_sparse_indices(), "uint4"),
        lut=LUT16.reshape(1, 1, 16, 1),
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)


def _sparse_blocks(mb: Any) -> Any:
    mask, values = mb.constexpr_sparse_blockwise_shift_scale(
        data_mask=_narrow(MASK.reshape(4, 8), "uint1"),
        nonzero_data=INT8.reshape(-1)[MASK == 1],
        scale=BLOCK_SCALE,
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)


def _save(coremltools: Any, opset: str, path: Path) -> None:
    """Save one package with every case of an opset, unoptimised, each with its own output."""
    from coremltools.converters.mil import Builder as mb

    target = getattr(coremltools.target, opset)
    slots = [(name, case) for name, case in NAMED.items() if case.opset == opset]
    specs = {
        f"{name}_in{index}": mb.TensorSpec(shape=shape)
        for name, case in slots
        for index, shape in enumerate(case.shapes)
    }

    def body(*inputs: Any) -> Any:
        rest = iter(inputs)
        results = [case.build(mb, *(next(rest) for _ in case.shapes)) for _, case in slots]
        return tuple(
            mb.identity(x=result, name=name)
            for (name, _), result in zip(slots, results, strict=True)
        )

    body = eval(f"lambda {', '.join(specs)}: body({', '.join(specs)})", {"body": body})
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = mb.program(input_specs=list(specs.values()), opset_version=target)(body)
        model = coremltools.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=target,
            compute_precision=coremltools.precision.FLOAT32,
            pass_pipeline=coremltools.PassPipeline.EMPTY,
            skip_model_load=True,
        )
        model.save(str(path))


def _feeds(name: str, case: Case) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    feeds = {}
    for index, shape in enumerate(case.shapes):
        array = rng.standard_normal(shape).astype(np.float32)
        feeds[f"{name}_in{index}"] = np.abs(array) + np.float32(0.1) if case.positive else array
    return feeds


@pytest.fixture(scope="module")
def results(coremltools: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Every case's result, by name, from two saved packages."""
    folder, found = tmp_path_factory.mktemp("operations"), {}
    for opset in ("iOS17", "iOS18"):
        path = folder / f"{opset}.mlpackage"
        _save(coremltools, opset, path)
        slots = {name: case for name, case in NAMED.items() if case.opset == opset}
        feeds = {k: v for name, case in slots.items() for k, v in _feeds(name, case).items()}
        kinds = {op.kind for op in read_package(path).functions["main"].operations}
        assert {case.kind for case in slots.values()} <= kinds
        with BACKEND.open(path) as session:
            found.update(session.run(feeds))
    return found


@pytest.mark.parametrize("name", NAMED)
def test_operation_against_torch(results: dict[str, np.ndarray], name: str) -> None:
    case = NAMED[name]
    feeds = _feeds(name, case)
    expected = case.reference(*map(torch.tensor, feeds.values())).numpy()
    assert results[name].shape == expected.shape
    np.testing.assert_allclose(results[name], expected, rtol=2e-5, atol=2e-5)


def test_every_operation_has_a_case() -> None:
    assert {case.kind for case in CASES} == set(operations())
