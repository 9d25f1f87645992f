"""What each operation of an ML program means, in torch on the CPU; one module a family.

A family's module has a table ``OPS`` from MIL's name to a function whose parameters carry MIL's
own parameter names, so that an unknown parameter is an error and never ignored. Defaults are those
of MIL. Integers of every width are int32 tensors here and floats are float32: rounding to the
declared type is the interpreter's work.

Source of the semantics: the operation reference of coremltools,
https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

_FAMILIES = (
    "activation",
    "attention",
    "constexpr",
    "convolution",
    "elementwise",
    "indexing",
    "layout",
    "normalization",
    "quantization",
    "reduction",
    "resizing",
)


@cache
def operations() -> dict[str, Callable[..., Any]]:
    """Every known operation by MIL's name; imports torch."""
    table: dict[str, Callable[..., Any]] = {}
    for family in _FAMILIES:
        table.update(importlib.import_module(f"{__name__}.{family}").OPS)
    return table
