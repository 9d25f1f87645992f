"""The help of a command, remembered as long as no file that it was made from has changed.

Importing click and laying out a help takes twice as long as starting Python. What is remembered is
read here by the system's calls alone, before anything else is imported; :mod:`samedge.cli` has it
written. It lies in the cache and is checked like all that lies there. Where the cache's place is
not known without more imports (neither Linux nor ``SAMEDGE_CACHE``), nothing is remembered.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from samedge._version import __version__

KIND = "help"
WIDEST = 100
"""Columns of the widest help; a wider terminal shows the same."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
_MARK = b"\nsamedge-sha256 "  # as of samedge._cache
_USUAL_COLUMNS = 80
_WORDS = 2


def asked(words: Sequence[str]) -> str | None:
    """The command whose help a command line asks for, and nothing else; ``None``: none.

    Args:
        words: after the program's name.
    """
    if len(words) != _WORDS or words[1] not in ("--help", "-h"):
        return None
    return words[0] if words[0].isalpha() else None


def recalled(command: str) -> str | None:
    """The help of a command; ``None`` where it has to be made, which is never an error."""
    folder = _folder()
    if folder is None:
        return None
    try:
        with open(os.path.join(folder, file_name(command)), "rb") as stream:  # noqa: PTH118, PTH123
            data = stream.read()
        content, _, digest = data.rpartition(_MARK)
        sources, _, text = content.decode().partition("\n\n")
    except (OSError, UnicodeDecodeError):
        return None
    import hashlib

    is_whole = digest == hashlib.sha256(content).hexdigest().encode()
    return text if is_whole and all(map(_is_as_it_was, sources.split("\n"))) else None


def record(text: str) -> bytes | None:
    """What to keep of a help: the state of all it depends on, and the text.

    Returns:
        ``None`` where it cannot be told what it depends on.
    """
    modules = [
        getattr(module, "__file__", None)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in ("samedge", "click")
    ]
    folders = [folder for folder, _, _ in os.walk(_PACKAGE) if "__pycache__" not in folder]
    try:  # names of plug-ins come from their folders
        lines = [f"{_stamp(path)} {path}" for path in (*modules, *folders) if path]
    except OSError:
        return None
    is_told = all(modules) and not any("\n" in line for line in lines)
    return "\n".join([*lines, "", text]).encode() if is_told else None


def file_name(command: str) -> str:
    """Name of the file of a command's help, as it looks here: width, language and versions."""
    import hashlib

    language = [os.environ.get(name, "") for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")]
    here = [__version__, _PACKAGE, sys.version, str(min(_columns(), WIDEST)), *language]
    return f"{command}-{hashlib.sha256(repr(here).encode()).hexdigest()[:16]}.txt"


def _folder() -> str | None:
    """The cache's folder; where it differs from that of ``samedge._cache``, nothing is found."""
    given = os.environ.get("SAMEDGE_CACHE")
    if not given:
        if not sys.platform.startswith("linux"):
            return None
        base = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
        given = os.path.join(base, "samedge")  # noqa: PTH118
    return os.path.join(os.path.expanduser(given), KIND)  # noqa: PTH111, PTH118


def _columns() -> int:
    """As ``shutil.get_terminal_size``, whose module imports every compression."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or _USUAL_COLUMNS  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return _USUAL_COLUMNS


def _stamp(path: str) -> str:
    state = os.stat(path)  # noqa: PTH116
    return f"{state.st_mtime_ns} {state.st_size}"


def _is_as_it_was(line: str) -> bool:
    changed, size, path = line.split(" ", 2)
    try:
        return _stamp(path) == f"{changed} {size}"
    except OSError:
        return False
