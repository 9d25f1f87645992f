"""Refuses options that were given and mean nothing there, instead of losing them."""

from __future__ import annotations

import click
from click.core import ParameterSource


def refuse_given(beside: str, *names: str) -> None:
    """Say which of some options were given on the command line, if any.

    Args:
        beside: what they mean nothing with, as the message's subject.
        names: of the command's parameters.

    Raises:
        click.UsageError: one was given.
    """
    context = click.get_current_context()
    options = {option.name: max(option.opts, key=len) for option in context.command.params}
    given = [
        options[name]
        for name in names
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{beside} takes no {', '.join(given)}: leave that out.")
