"""What a case is: one operation, its reference in torch, and cases of one pattern."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


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


def unary(kind: str, reference: Callable[..., Any], *, positive: bool = False) -> Case:
    return Case(kind, lambda mb, x: getattr(mb, kind)(x=x), reference, positive=positive)


def binary(kind: str, reference: Callable[..., Any], *, positive: bool = False) -> Case:
    return Case(
        kind,
        lambda mb, x, y: getattr(mb, kind)(x=x, y=y),
        reference,
        shapes=((2, 3, 4), (3, 1)),
        positive=positive,
    )


def compare(kind: str, reference: Callable[..., Any]) -> Case:
    return Case(
        kind,
        lambda mb, x, y: mb.cast(
            x=getattr(mb, kind)(x=mb.round(x=x), y=mb.round(x=y)), dtype="fp32"
        ),
        lambda x, y: reference(x.round(), y.round()).float(),
        shapes=((5, 6), (5, 6)),
    )


def logical(kind: str, reference: Callable[..., Any]) -> Case:
    def build(mb: Any, x: Any, y: Any) -> Any:
        left, right = mb.greater(x=x, y=0.0), mb.greater(x=y, y=0.0)
        return mb.cast(x=getattr(mb, kind)(x=left, y=right), dtype="fp32")

    return Case(kind, build, lambda x, y: reference(x > 0, y > 0).float(), shapes=((5, 6), (5, 6)))


def reduce(kind: str, reference: Callable[..., Any], *, positive: bool = False) -> Case:
    return Case(
        kind,
        lambda mb, x: getattr(mb, kind)(x=x, axes=[1, -1], keep_dims=True),
        reference,
        shapes=((2, 3, 4, 5),),
        positive=positive,
    )
