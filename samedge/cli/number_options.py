"""Options that are a number of things, seconds or a share: the same bounds and words everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def count_option(
    *names: str,
    default: int | None = None,
    text: str | None = None,
    unit: str = "N",
    most: int | None = None,
) -> Callable[[_Command], _Command]:
    """A whole number of 1 or more; a default is shown.

    Args:
        names: of the option, and of its argument where that has another.
        default: ``None`` leaves it to the command.
        text: of the help.
        unit: of the help.
        most: that is taken.
    """
    return click.option(
        *names,
        type=click.IntRange(1, most),
        default=default,
        show_default=default is not None,
        metavar=unit,
        help=text,
    )


def seconds_option(
    name: str, *, default: float, text: str | None = None
) -> Callable[[_Command], _Command]:
    """A time above 0, in seconds."""
    return click.option(
        name,
        type=click.FloatRange(0, min_open=True),
        default=default,
        show_default=True,
        metavar="S",
        help=text,
    )


def share_option(name: str, *, text: str) -> Callable[[_Command], _Command]:
    """A number from 0 to 1, such as an IoU; the bundle says it where nobody does."""
    return click.option(
        name,
        type=click.FloatRange(0, 1),
        metavar="IOU",
        help=f"{text}  [default: the bundle's]",
    )
