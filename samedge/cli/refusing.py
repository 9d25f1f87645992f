"""Refuses what would be lost: options that mean nothing there, and results without a place."""

from __future__ import annotations

from pathlib import Path

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


def refuse_output(path: Path | None, source: Path | None = None) -> None:
    """Refuse an output file before the work; see :func:`samedge.files.writing.check_output`.

    Args:
        path: of the file; ``None`` is none.
        source: what the command reads, if anything.

    Raises:
        WriteError: nothing can be written there, or it is read.
    """
    from samedge.files.writing import check_output

    check_output(path, () if source is None else (source,))
