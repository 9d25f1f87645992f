"""Points and boxes as people type them: ``X,Y[,LABEL]`` and ``X0,Y0,X1,Y1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _ParamType = click.ParamType[tuple[float, ...]]
else:
    _ParamType = click.ParamType  # generic since click 8.4 only


class _Numbers(_ParamType):
    """Comma-separated numbers of a fixed count."""

    counts: tuple[int, ...]
    form: str

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Turn ``"12,34.5"`` into ``(12.0, 34.5)``."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) not in self.counts:
            self.fail(f"{value!r} is not {self.form}, numbers in pixels.", param, ctx)
        return numbers


class PointType(_Numbers):
    """``X,Y`` or ``X,Y,LABEL``; the label is 1 (foreground, the default) or 0 (background)."""

    name = "point"
    counts = (2, 3)
    form = "X,Y or X,Y,LABEL"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Turn ``"12,34"`` into ``(12.0, 34.0, 1)``."""
        numbers = super().convert(value, param, ctx)
        label = numbers[2] if len(numbers) == 3 else 1.0
        if label not in (0.0, 1.0):
            self.fail(
                f"{value!r} has label {label:g}, expected 1 (foreground) or 0 (background).",
                param,
                ctx,
            )
        return (*numbers[:2], label)


class BoxType(_Numbers):
    """``X0,Y0,X1,Y1``: top left and bottom right corner."""

    name = "box"
    counts = (4,)
    form = "X0,Y0,X1,Y1"


POINT, BOX = PointType(), BoxType()
