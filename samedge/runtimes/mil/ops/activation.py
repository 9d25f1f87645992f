"""Activations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from samedge.errors import InferenceError
from samedge.runtimes.mil.ops.arguments import integer, number


def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """Gaussian error linear unit in one of MIL's three modes (Hendrycks and Gimpel, 2016)."""
    if mode == "EXACT":
        return functional.gelu(x)
    if mode == "TANH_APPROXIMATION":
        return functional.gelu(x, approximate="tanh")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    raise InferenceError(
        f"gelu has mode {mode!r}, expected EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION."
    )


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return functional.relu(x)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return functional.relu6(x)


def clamped_relu(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """min(max(x, 0) + alpha min(x, 0), beta)."""
    return torch.clamp(torch.where(x >= 0, x, number(alpha) * x), max=number(beta))


def leaky_relu(x: Tensor, alpha: Tensor) -> Tensor:
    """x where it is positive, else alpha x."""
    return torch.where(x >= 0, x, number(alpha) * x)


def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """Leaky ReLU with one slope a channel (axis 1)."""
    slope = alpha.reshape(1, -1, *([1] * (x.ndim - 2)))
    return torch.where(x >= 0, x, slope * x)


def elu(x: Tensor, alpha: Tensor) -> Tensor:
    """Exponential linear unit."""
    return torch.where(x >= 0, x, number(alpha) * torch.expm1(x))


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


def sigmoid_hard(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """min(max(alpha x + beta, 0), 1)."""
    return torch.clamp(number(alpha) * x + number(beta), 0.0, 1.0)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x)."""
    return functional.silu(x)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), exact for large x."""
    return torch.logaddexp(x, torch.zeros_like(x))


def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return x / (1 + x.abs())


def linear_activation(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """alpha x + beta."""
    return number(alpha) * x + number(beta)


def scaled_tanh(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """alpha tanh(beta x)."""
    return number(alpha) * torch.tanh(number(beta) * x)


def softmax(x: Tensor, axis: Tensor | int = -1) -> Tensor:
    """Softmax along one axis."""
    return torch.softmax(x, dim=integer(axis))


def erf(x: Tensor) -> Tensor:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return torch.erf(x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


OPS = {
    "clamped_relu": clamped_relu,
    "elu": elu,
    "erf": erf,
    "gelu": gelu,
    "leaky_relu": leaky_relu,
    "linear_activation": linear_activation,
    "prelu": prelu,
    "relu": relu,
    "relu6": relu6,
    "scaled_tanh": scaled_tanh,
    "sigmoid": sigmoid,
    "sigmoid_hard": sigmoid_hard,
    "silu": silu,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "tanh": tanh,
}
