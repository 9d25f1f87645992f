"""Activations, products, convolutions and pooling."""

from __future__ import annotations

import pytest

from tests.runtimes.mil_cases.case import Case, unary
from tests.runtimes.mil_cases.operands import B6, C4, W1, WG, WT, W

torch = pytest.importorskip("torch")
F = torch.nn.functional
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
    unary("relu", lambda x: x.clamp(min=0)),
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
    unary("sigmoid", torch.sigmoid),
    Case(
        "sigmoid_hard",
        lambda mb, x: mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5),
        F.hardsigmoid,
    ),
    unary("silu", F.silu),
    unary("softplus", F.softplus),
    unary("softsign", F.softsign),
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
    unary("erf", torch.erf),
    unary("tanh", torch.tanh),
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
]
