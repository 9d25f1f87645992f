"""Masks and annotations in and out of files: one file a format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from samedge import _discovery
from samedge.errors import UnknownNameError

if TYPE_CHECKING:
    from samedge.formats.base import Format


def names() -> tuple[str, ...]:
    """Names of all formats; nothing is imported."""
    return _discovery.names(__name__)


def get(name: str) -> Format:
    """The format of a name; ``-`` and ``_`` are the same.

    Raises:
        UnknownNameError: there is none; lists the known ones.
    """
    from samedge.formats.base import Format

    wanted = name.replace("-", "_")
    if wanted not in names():
        raise UnknownNameError("format", name, names())
    found = _discovery.load(__name__, wanted, attribute="FORMAT")
    assert isinstance(found, Format)
    return found


def from_ending(path: Path) -> Format | None:
    """The format that a file's ending means where none is named; ``None`` for other endings."""
    ending = path.suffix.lower()
    return next((f for f in map(get, names()) if ending in f.chosen_by), None)


def from_content(path: Path) -> list[Format]:
    """Formats that a file or folder looks like."""
    return [f for f in map(get, names()) if f.is_read and f.recognises(path)]
