"""Putting a finished folder or file in its place by one rename.

``os.replace`` cannot replace a folder that holds something, and two renames are not one: between
them a reader finds nothing, and a crash leaves nothing. So an existing folder is *exchanged* with
the new one, which Linux and macOS do in one step, and the old one is deleted afterwards. Where the
file system cannot exchange, replacing is refused and nothing is touched.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from samedge.errors import BundleError

_MARK = ".samedge-tmp-"
_STALE_SECONDS = 3600.0
_RENAME_EXCHANGE, _RENAME_SWAP = 2, 2  # Linux renameat2, macOS renameatx_np
_AT_FDCWD_LINUX, _AT_FDCWD_MACOS = -100, -2
_CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def temporary_beside(destination: Path) -> Iterator[Path]:
    """A path beside ``destination`` to build its successor at; whatever is there goes at the end.

    Leftovers of processes that died more than an hour ago are removed too.

    Args:
        destination: where the result will go; its parent folder is created.
    """
    parent = destination.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(parent, destination.name)
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = parent / f".{destination.name}{_MARK}{token}"
    try:
        yield temporary
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def commit(temporary: Path, destination: Path) -> None:
    """Make ``temporary`` become ``destination``, on disk, in one step.

    Afterwards ``temporary`` is gone, or is what was at ``destination`` before.

    Raises:
        BundleError: there is a folder at ``destination`` that this file system cannot exchange.
    """
    _sync(temporary)
    if temporary.is_dir() and destination.is_dir():
        exchange(temporary, destination)
    else:
        temporary.replace(destination)
    _sync_one(destination.absolute().parent)


def exchange(first: Path, second: Path) -> None:
    """Swap the names of two existing paths in one step.

    Raises:
        BundleError: the system or the file system cannot do that.
    """
    code = _exchange_code(os.fsencode(first.absolute()), os.fsencode(second.absolute()))
    if code in _CANNOT_EXCHANGE:
        raise BundleError(
            f"The file system of {second} cannot replace a folder in one step: delete {second} "
            "first, or write to another path."
        )
    if code:
        raise OSError(code, os.strerror(code), os.fspath(second))


def _exchange_code(first: bytes, second: bytes) -> int:
    """Error number of the system's exchange, 0 when it worked."""
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        name, folder, flag = "renameatx_np", _AT_FDCWD_MACOS, _RENAME_SWAP
    else:
        name, folder, flag = "renameat2", _AT_FDCWD_LINUX, _RENAME_EXCHANGE
    call = getattr(library, name, None)
    if call is None:
        return errno.ENOSYS
    done = call(folder, ctypes.c_char_p(first), folder, ctypes.c_char_p(second), flag)
    return ctypes.get_errno() if done else 0


def _sync(path: Path) -> None:
    for folder, _, files in os.walk(path):
        for name in files:
            _sync_one(Path(folder, name))
        _sync_one(Path(folder))
    if path.is_file():
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_stale(parent: Path, name: str) -> None:
    for leftover in parent.glob(f".{name}{_MARK}*"):
        process = leftover.name.rpartition(_MARK)[2].partition("-")[0]
        with suppress(OSError):
            old = time.time() - leftover.stat().st_mtime > _STALE_SECONDS
            if old and process.isdecimal() and not _is_alive(int(process)):
                remove(leftover)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # alive, but not ours
    return True
