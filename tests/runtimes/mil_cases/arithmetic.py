"""Arithmetic, comparisons and logic."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtimes.mil_cases.case import Case, binary, compare, logical, unary

torch = pytest.importorskip("torch")
CASES = [
    # arithmetic
    binary("add", lambda x, y: x + y),
    binary("sub", lambda x, y: x - y),
    binary("mul", lambda x, y: x * y),
    binary("real_div", lambda x, y: x / y, positive=True),
    binary("floor_div", lambda x, y: torch.floor(x / y), positive=True),
    binary("mod", lambda x, y: x - y * torch.floor(x / y), positive=True),
    binary("pow", lambda x, y: torch.exp(y * torch.log(x)), positive=True),
    binary("maximum", torch.maximum),
    binary("minimum", torch.minimum),
    compare("equal", torch.eq),
    compare("not_equal", torch.ne),
    compare("greater", torch.gt),
    compare("greater_equal", torch.ge),
    compare("less", torch.lt),
    compare("less_equal", torch.le),
    logical("logical_and", lambda x, y: x & y),
    logical("logical_or", lambda x, y: x | y),
    logical("logical_xor", lambda x, y: x ^ y),
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
    unary("abs", torch.abs),
    Case("acos", lambda mb, x: mb.acos(x=mb.tanh(x=x)), lambda x: torch.acos(torch.tanh(x))),
    Case("asin", lambda mb, x: mb.asin(x=mb.tanh(x=x)), lambda x: torch.asin(torch.tanh(x))),
    unary("atan", torch.atan),
    unary("ceil", torch.ceil),
    unary("cos", torch.cos),
    unary("cosh", torch.cosh),
    unary("exp", torch.exp),
    unary("exp2", lambda x: 2**x),
    unary("floor", torch.floor),
    unary("round", lambda x: torch.tensor(np.round(x.numpy()))),
    unary("sign", torch.sign),
    unary("sin", torch.sin),
    unary("sinh", torch.sinh),
    unary("sqrt", torch.sqrt, positive=True),
    unary("square", lambda x: x * x),
    unary("tan", torch.tan),
]
