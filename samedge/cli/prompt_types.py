"""Points, boxes and ranges as people type them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from samedge.pixels.sample_range import SampleRange

    _ParamType = click.ParamType[tuple[float, ...]]
    _RangeType = click.ParamType[SampleRange]
else:
    _ParamType = _RangeType = click.ParamType  # generic since click 8.4 only


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


class RangeType(_RangeType):
    """``auto``, ``full`` or ``LOW,HIGH``: which samples become black and white."""

    name = "range"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> SampleRange:
        """Turn ``"0,4095"`` into ``(0.0, 4095.0)``."""
        from samedge.errors import OptionError
        from samedge.pixels.sample_range import check_range

        try:
            is_word = value in ("auto", "full") or not isinstance(value, str)
            return check_range(value if is_word else tuple(value.split(",")))
        except OptionError as error:
            self.fail(str(error), param, ctx)


POINT, BOX, RANGE = PointType(), BoxType(), RangeType()
