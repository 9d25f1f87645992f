"""One process at a time writes in a folder that several share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from samedge.errors import WriteError


@contextlib.contextmanager
def one_writer(folder: Path, lock: str) -> Iterator[None]:
    """Wait until nobody else holds a folder's lock, and hold it meanwhile.

    The system lets go of it when a process dies, whatever its clock says.

    Args:
        folder: is made where needed.
        lock: name of the lock's file in it, which stays.

    Raises:
        WriteError: it cannot be made.
    """
    held = filelock.FileLock(folder / lock)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except OSError as error:
        raise WriteError(
            f"{folder} cannot be written ({error.strerror}): name another folder with -o.",
            errno=error.errno,
        ) from error
    try:
        yield
    finally:
        held.release()
