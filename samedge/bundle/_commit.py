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
import sys
from pathlib import Path

from samedge.errors import BundleError
from samedge.files.writing import sync, sync_one
from samedge.files.writing import temporary_beside as temporary_beside

_RENAME_EXCHANGE, _RENAME_SWAP = 2, 2  # Linux renameat2, macOS renameatx_np
_AT_FDCWD_LINUX, _AT_FDCWD_MACOS = -100, -2
_CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def commit(temporary: Path, destination: Path) -> None:
    """Make ``temporary`` become ``destination``, on disk, in one step.

    Afterwards ``temporary`` is gone, or is what was at ``destination`` before.

    Raises:
        BundleError: there is a folder at ``destination`` that this file system cannot exchange.
    """
    sync(temporary)
    if temporary.is_dir() and destination.is_dir():
        exchange(temporary, destination)
    else:
        temporary.replace(destination)
    sync_one(destination.absolute().parent)


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
