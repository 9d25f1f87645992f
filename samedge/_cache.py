"""What samedge can make again: downloads, compiled graphs, unpacked bundles, remembered checks.

Everything is used only after it was checked. A file here ends in the hash of what is before it; one
that does not, by a torn page or a write that was cut off, is dropped and made again. Where there is
no folder to keep things in (no home, no rights, a read-only or odd ``SAMEDGE_CACHE``), a private
folder takes its place and goes with the process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import logging
import os
import stat
from pathlib import Path

import platformdirs

from samedge.files import writing
from samedge.files.scratch import scratch_folder

VARIABLE = "SAMEDGE_CACHE"
"""Environment variable that moves the whole cache."""

_MARK = b"\nsamedge-sha256 "
_SEAL_BYTES = len(_MARK) + 64

logger = logging.getLogger(__name__)


def cache_folder(kind: str) -> Path:
    """Folder to keep one kind of thing in; it need not exist yet.

    Args:
        kind: name of the subfolder, such as ``"openvino"``.
    """
    root, reason = _users_root()
    reason = reason or _why_unusable(root / kind)
    if reason:
        return private_folder(f"{root} cannot be used as cache ({reason})") / kind
    return root / kind


def cache_file(kind: str, name: str) -> Path:
    """Where a thing is kept, or will be: a cache that cannot be written may hold it already.

    Args:
        kind: name of the subfolder.
        name: of the file or folder in it.
    """
    users = _users_root()[0] / kind / name
    return users if os.path.lexists(users) else cache_folder(kind) / name


def cache_files(kind: str, pattern: str) -> tuple[Path, ...]:
    """Where the things are kept whose names match, by :func:`cache_file`; sorted by name.

    Args:
        kind: name of the subfolder.
        pattern: such as ``"*.blob"``.
    """
    folders = dict.fromkeys((cache_folder(kind), _users_root()[0] / kind))
    names = {path.name for folder in folders for path in folder.glob(pattern)}
    return tuple(cache_file(kind, name) for name in sorted(names))


@functools.cache
def private_folder(reason: str) -> Path:
    """A folder for this process alone that goes when it ends.

    Args:
        reason: why the user's cache will not do, for the log, which hears of each once.
    """
    logger.info("%s: what is kept for speed goes to a private folder, for this run.", reason)
    return _temporary()


@functools.cache
def _temporary() -> Path:
    held, owner = contextlib.ExitStack(), os.getpid()
    try:
        folder = held.enter_context(scratch_folder())
    except OSError as error:
        logger.info("There is no temporary folder either (%s): nothing is kept.", error)
        return Path(os.devnull, "samedge")  # where nothing is and nothing can be written

    def remove() -> None:
        if os.getpid() == owner:  # not in a fork
            held.close()

    atexit.register(remove)
    return folder


def _users_root() -> tuple[Path, str]:
    """The cache that the environment names, and why it cannot be one, or nothing."""
    given = os.environ.get(VARIABLE)
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
    if given:
        root = Path(os.path.expanduser(given))  # noqa: PTH111 - the same
        return root.absolute(), "there is no such home" if str(root).startswith("~") else ""
    try:
        root = platformdirs.user_cache_path("samedge")
    except RuntimeError:  # HOME is not set, and the system does not know the user
        return home.absolute(), "there is no home"
    in_home = not root.is_absolute() or root.is_relative_to(home)
    return root.absolute(), "there is no home" if in_home and not home.is_dir() else ""


def _why_unusable(folder: Path) -> str:
    """Why nothing can be kept in a folder, or nothing; its parent is made."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        nearest = folder if folder.exists() else folder.parent
    except OSError as error:
        return error.strerror or str(error)
    if not nearest.is_dir():
        return f"{nearest} is no folder"
    return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written"


def file_facts(path: Path) -> tuple[object, ...]:
    """Where a file lies and what changes when its bytes do: for the name of what is made of it.

    Who writes into it in place may set the time of its content back, as ``cp -p`` does, and systems
    that are the same everywhere give all files one; the time of its state nobody sets.

    Raises:
        OSError: there is no such file.
    """
    state = path.stat()
    times = state.st_mtime_ns, state.st_ctime_ns
    return os.fspath(path.resolve()), state.st_size, *times, state.st_ino


def keep(path: Path, content: bytes | bytearray | memoryview) -> bool:
    """Write a file of the cache in one step, with its seal; a full disk is no error.

    Returns:
        Whether it is there now.
    """
    digest = hashlib.sha256(content).hexdigest().encode()
    try:
        with writing.replacing(path) as temporary, temporary.open("wb") as stream:
            stream.write(content)
            stream.write(_MARK + digest)
    except OSError as error:
        logger.info("%s is not kept: %s", path, error)
        return False
    return True


def kept(path: Path) -> memoryview | None:
    """Content of a file that :func:`keep` wrote; ``None`` if there is none.

    A damaged one counts as none: it is removed and reported.
    """
    data = _read(path)
    if data is None:
        return None
    content, found = memoryview(data)[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if found == _MARK + hashlib.sha256(content).hexdigest().encode():
        return content
    drop(path, reason="is damaged")
    return None


def seal(path: Path) -> str:
    """The hash that a file of the cache claims to have; empty where there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(-_SEAL_BYTES, os.SEEK_END)
            return stream.read().removeprefix(_MARK).decode("ascii", "replace")
    except (OSError, ValueError):
        return ""


def drop(path: Path, *, reason: str) -> None:
    """Remove a file or folder of the cache that will not do; it is made again.

    Args:
        path: it need not be ours to remove.
        reason: for the log.
    """
    logger.warning("%s %s; it is made again.", path, reason)
    try:
        writing.remove(path)
    except OSError as error:
        logger.info("%s cannot be removed: %s", path, error)


def _read(path: Path) -> bytes | None:
    """Content of a regular file, or ``None``. It is read, not mapped: a bad disk is no signal."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            with open(descriptor, "rb", closefd=False) as stream:
                return stream.read()
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.info("%s cannot be read: %s", path, error)
        return None
