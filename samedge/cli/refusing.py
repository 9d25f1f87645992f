"""Refuses what would be lost: options that mean nothing there, and results without a place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from click.core import ParameterSource

_STDOUT = 1


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


def refuse_source(path: Path | None, more: Iterable[Path] = ()) -> None:
    """Refuse to write to what is read; see :func:`samedge.files.writing.check_no_source`.

    Args:
        path: a file or folder that is to be written; ``None`` is none.
        more: what is read beside the files and folders that the command line names.

    Raises:
        WriteError: it is one of them.
    """
    from samedge.files.writing import check_no_source

    check_no_source(path, [*_named_beside(path), *more])


def refuse_output(path: Path | None, *, is_folder: bool = False) -> None:
    """Refuse an output file before the work; see :func:`samedge.files.writing.check_output`.

    Args:
        path: of the file; ``None`` is none.
        is_folder: files are written into it, beside what may be there.

    Raises:
        WriteError: nothing can be written there, or the command reads it.
        click.UsageError: another option names the same file.
    """
    from samedge.files.writing import check_output

    check_output(path, () if is_folder else _named_beside(path), is_folder=is_folder)
    others = [other for other in _paths_beside(path) if path is not None and _is_same(path, other)]
    if others and not is_folder:
        raise click.UsageError(f"{path} is named twice on the command line: name each file once.")


def _is_same(path: Path, other: Path) -> bool:
    """Whether two paths that need not exist yet are one, but for links on the way."""
    return os.path.abspath(path) == os.path.abspath(other)  # noqa: PTH100 - no link is followed


def _paths_beside(path: Path | None) -> Iterator[Path]:
    """The paths among what else the command line names."""
    context = click.get_current_context(silent=True)
    for given in context.params.values() if context else ():
        for value in given if isinstance(given, tuple) else (given,):
            if isinstance(value, Path) and value is not path:
                yield value


def refuse_shared_output() -> None:
    """Refuse a file that is standard output, where ``--json`` promises one document and no more.

    Raises:
        click.UsageError: an option names it.
    """
    from samedge.files.writing import open_descriptor

    for path in _named_beside(None):
        if open_descriptor(path) == _STDOUT:
            raise click.UsageError(
                f"{path} is where --json prints its document: name a file, or leave out --json."
            )


def _named_beside(path: Path | None) -> Iterator[Path]:
    """What else the command line names that may be a file or a folder, such as a bundle."""
    context = click.get_current_context(silent=True)
    for given in context.params.values() if context else ():
        for value in given if isinstance(given, tuple) else (given,):
            if isinstance(value, str | Path) and value is not path:
                yield Path(value)
