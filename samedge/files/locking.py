"""One process at a time in a folder of results: the second one is told, and does not wait."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from samedge.errors import OptionError, WriteError

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def locked(output: Path, name: str) -> Iterator[None]:
    """Keep other processes of this machine out of a folder.

    Args:
        output: the folder, which is made where needed.
        name: of the lock's file in it, which stays.

    Raises:
        OptionError: another process works in it.
        WriteError: it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(output / name, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise WriteError(
            f"{output} cannot be written ({error.strerror}): name another folder with -o.",
            errno=error.errno,
        ) from error
    try:
        if not _take(descriptor):
            raise OptionError(
                f"Another process works in {output}: wait for it, or name another folder with -o."
            )
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
