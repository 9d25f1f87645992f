"""Reading input files: regular files of bounded size, so that no input can hang or fill memory."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from samedge.errors import SamedgeError
from samedge.files import limits

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@contextlib.contextmanager
def opened(
    path: Path,
    *,
    limit: str | None,
    expected: str,
    error: type[SamedgeError],
    otherwise: str = "",
) -> Iterator[BinaryIO]:
    """Open a regular file for reading; links are followed.

    Args:
        path: the file.
        limit: name of the limit on its size, one of ``limits.DEFAULTS``; ``None`` where it is not
            read into memory.
        expected: what it should be, such as ``"an image file"``.
        error: what to raise.
        otherwise: what else to do about one that is too large.

    Yields:
        The file, at its start.

    Raises:
        SamedgeError: of the class ``error``: missing, unreadable, not a regular file, too large.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise error(f"{path} cannot be read ({_reason(problem)}): check the path.") from problem
    try:
        status = os.fstat(descriptor)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is not None:
            hint = "name a file in it" if kind == "a folder" else "save it to a file first"
            raise error(f"{path} is {kind}, expected {expected}: {hint}.")
        if limit is not None:
            what = str(path)
            limits.check(status.st_size, limit, what=what, error=error, otherwise=otherwise)
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_bytes(
    path: Path, *, limit: str, expected: str, error: type[SamedgeError], otherwise: str = ""
) -> bytes:
    """Content of a regular file; the arguments and errors are those of :func:`opened`."""
    with opened(path, limit=limit, expected=expected, error=error, otherwise=otherwise) as file:
        try:
            # A file of /proc says that it has no bytes, and a log grows while it is read.
            data = file.read(limits.limit(limit) + 1)
        except OSError as problem:
            raise error(f"{path} cannot be read ({_reason(problem)}): check the disk.") from problem
    limits.check(len(data), limit, what=str(path), error=error, otherwise=otherwise)
    return data


def _reason(problem: OSError | ValueError) -> str:
    return getattr(problem, "strerror", None) or str(problem)
