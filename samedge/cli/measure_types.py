"""Durations and lists of counts as people type them: ``33ms``, ``30fps``, ``1,4,16``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _FloatType = click.ParamType[float]
    _CountsType = click.ParamType[tuple[int, ...]]
else:
    _FloatType = _CountsType = click.ParamType  # generic since click 8.4 only

_MILLISECONDS = {"": 1.0, "ms": 1.0, "s": 1000.0, "us": 0.001}


class DurationType(_FloatType):
    """``33``, ``33ms``, ``0.5s`` or ``30fps`` as milliseconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Turn ``"33ms"`` into ``33.0``."""
        match = re.fullmatch(r"([\d.]+)\s*(ms|s|us|fps|)", str(value).strip())
        try:
            number = float(match.group(1)) if match else 0.0
        except ValueError:
            number = 0.0
        if match is None or number <= 0:
            self.fail(f"{value!r} is not a duration such as 33ms, 0.5s or 30fps.", param, ctx)
        return 1000 / number if match.group(2) == "fps" else number * _MILLISECONDS[match.group(2)]


class CountsType(_CountsType):
    """``1,4,16`` as numbers."""

    name = "counts"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Turn ``"1,4,16"`` into ``(1, 4, 16)``."""
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not a list of counts such as 1,4,16.", param, ctx)
        return tuple(int(part) for part in parts)


DURATION, COUNTS = DurationType(), CountsType()
