"""Reading MIL's arguments, which are tensors even where Python wants a number or a list."""

from __future__ import annotations

from collections.abc import Sequence

import torch

Value = torch.Tensor | str | tuple[torch.Tensor, ...]
"""An argument: a tensor, a string, or several tensors where the parameter is a tuple."""


def integers(value: torch.Tensor | Sequence[int]) -> list[int]:
    """A list of Python integers, from a tensor of rank 0 or 1."""
    if isinstance(value, torch.Tensor):
        return [int(v) for v in value.reshape(-1).tolist()]
    return [int(v) for v in value]


def integer(value: torch.Tensor | int) -> int:
    """One Python integer."""
    return int(value)


def number(value: torch.Tensor | float) -> float:
    """One Python float."""
    return float(value)


def flag(value: torch.Tensor | bool) -> bool:
    """One Python bool."""
    return bool(value)


def flags(value: torch.Tensor | Sequence[bool] | None, count: int) -> list[bool]:
    """``count`` Python bools; absent means all false."""
    if value is None:
        return [False] * count
    return [bool(v) for v in (value.tolist() if isinstance(value, torch.Tensor) else value)]


def several(value: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The tensors of a tuple parameter, which arrives bare when there is only one."""
    return (value,) if isinstance(value, torch.Tensor) else value
