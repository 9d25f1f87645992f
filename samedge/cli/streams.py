"""The standard streams of a process: closed, full or gone, they end in one line or in none."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from samedge.errors import WriteError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_STDOUT, _STDERR = 1, 2


def prepare() -> None:
    """Make the streams of this process ones that a command can rely on.

    What the caller closed leads to nothing; characters that an encoding lacks are escaped; and
    standard error takes what it can: a full disk behind a log does not end hours of work.
    """
    _open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr.fileno() == _STDERR:
        sys.stderr = _remarks(sys.stderr.encoding)


def discard_stdout() -> None:
    """Point stdout at nothing: it is gone or full, and Python flushes it once more at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, _STDOUT)
    os.close(devnull)


@contextlib.contextmanager
def written_out() -> Iterator[None]:
    """What is printed within that cannot be written is one error, which names standard output.

    Raises:
        WriteError: it is full or broken.
        BrokenPipeError: whoever read it has gone, which needs no words.
    """
    try:
        yield
    except OSError as error:
        is_of_a_file = error.filename is not None or error.errno is None
        if isinstance(error, BrokenPipeError | WriteError) or is_of_a_file:
            raise
        raise WriteError(
            f"Standard output cannot be written ({error.strerror}): free some space, or send it "
            "elsewhere.",
            errno=error.errno,
        ) from error


class _Unfailing(io.FileIO):
    """A descriptor that takes every write; what cannot be written is lost."""

    def write(self, data: ReadableBuffer, /) -> int:
        """As a file's."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _remarks(encoding: str) -> io.TextIOWrapper:
    raw = _Unfailing(_STDERR, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=True
    )


def _open_closed() -> None:
    """Open /dev/null for what the caller closed, as ``samedge ... >&-`` does.

    Else the next file that is opened would become standard output, and get what libraries print.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
