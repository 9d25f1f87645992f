"""Options that several commands share, or that are many: given to a command as one value."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

Command = Callable[..., None]


def gathered(
    run: Callable[..., object],
    options: Sequence[Callable[[Command], Command]],
    *,
    argument: str = "run",
) -> Callable[[Command], Command]:
    """A decorator that gives a command some options, as one argument.

    Args:
        run: a dataclass with a field for each of the options, of the same name; what has a default
            is not the command line's.
        options: click's decorators, in the order of the help.
        argument: the command's name for it.
    """
    fields = dataclasses.fields(run)  # type: ignore[arg-type]
    names = [field.name for field in fields if field.default is dataclasses.MISSING]

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def command(*args: Any, **given: Any) -> None:
            values = {name: given.pop(name) for name in names}
            function(*args, **{argument: run(**values)}, **given)

        decorated: Command = command
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate
