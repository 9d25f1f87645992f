"""Arithmetic and comparison, element by element, with NumPy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from samedge.runtimes.mil.ops.arguments import number


def add(x: Tensor, y: Tensor) -> Tensor:
    """x + y."""
    return x + y


def sub(x: Tensor, y: Tensor) -> Tensor:
    """x - y."""
    return x - y


def mul(x: Tensor, y: Tensor) -> Tensor:
    """x y."""
    return x * y


def real_div(x: Tensor, y: Tensor) -> Tensor:
    """x / y."""
    return x / y


def floor_div(x: Tensor, y: Tensor) -> Tensor:
    """Largest integer not above x / y."""
    return torch.floor_divide(x, y)


def mod(x: Tensor, y: Tensor) -> Tensor:
    """x - y floor(x / y)."""
    return torch.remainder(x, y)


def power(x: Tensor, y: Tensor) -> Tensor:
    """x to the power of y."""
    return torch.pow(x, y)


def clip(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """min(max(x, alpha), beta)."""
    return torch.clamp(x, number(alpha), number(beta))


def threshold(x: Tensor, alpha: Tensor) -> Tensor:
    """max(x, alpha)."""
    return torch.clamp(x, min=number(alpha))


def rsqrt(x: Tensor, epsilon: Tensor | float = 1e-12) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return torch.rsqrt(x + number(epsilon))


def inverse(x: Tensor, epsilon: Tensor | float = 1e-4) -> Tensor:
    """1 / (x + epsilon)."""
    return torch.reciprocal(x + number(epsilon))


def log(x: Tensor, epsilon: Tensor | float = 1e-45) -> Tensor:
    """log(x + epsilon)."""
    return torch.log(x + number(epsilon))


def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where cond is true, else b."""
    return torch.where(cond.bool(), a, b)


def identity(x: Tensor) -> Tensor:
    """x."""
    return x


def cast(x: Tensor, dtype: str) -> Tensor:
    """Convert the element type; towards zero from float to integer."""
    if dtype.startswith("fp"):
        return x.float()
    return x.bool() if dtype == "bool" else x.trunc().int() if x.is_floating_point() else x.int()


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def apply(x: Tensor) -> Tensor:
        return function(x)

    return apply


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def apply(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    return apply


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "logical_not": torch.logical_not,
    "round": torch.round,
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "equal": torch.eq,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "not_equal": torch.ne,
}

OPS: dict[str, Callable[..., Tensor]] = {
    "add": add,
    "cast": cast,
    "clip": clip,
    "floor_div": floor_div,
    "identity": identity,
    "inverse": inverse,
    "log": log,
    "mod": mod,
    "mul": mul,
    "pow": power,
    "real_div": real_div,
    "rsqrt": rsqrt,
    "select": select,
    "sub": sub,
    "threshold": threshold,
    **{name: _unary(function) for name, function in _UNARY.items()},
    **{name: _binary(function) for name, function in _BINARY.items()},
}
