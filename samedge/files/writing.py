"""The one way in which samedge writes a file: the old one or the new one is there, never half.

What is written grows in a folder of its own beside the destination: a random name, made
exclusively, open to nobody else, so that nothing can be planted in it. At the end it is flushed to
the disk, takes its place by one rename, and the rename is flushed too. An error or an interrupt
leaves nothing behind and what was there untouched.

A process that is killed leaves its folder. It held a lock on it, which the system let go of; the
next writer in the same place finds that out and removes it. So the leftovers of the dead go at
once, and what another process or container is writing stays. Where a file system has no locks, the
folder's name says who made it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from samedge.errors import WriteError
from samedge.files import owner

if sys.platform != "win32":
    import fcntl

MARK = ".samedge-tmp-"
_STALE_SECONDS = 3600.0  # where a file system has no locks
_ATTEMPTS = 8
_ANY = "0"  # the name of some file in a folder
_LINKS = 8  # that lead to an open file
_ONLY_A_FOLDER = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_DIRECTORY", 0)

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space in your quota",
    errno.EACCES: "name a place that you may write to",
    errno.EPERM: "name a place that you may write to",
    errno.EROFS: "name a place that you may write to",
    errno.EISDIR: "name a file in it",
    errno.EEXIST: "check the folders in its path",
    errno.ENOTDIR: "check the folders in its path",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: "links in its path lead to themselves, name another place",
}


def write_bytes(path: Path, data: bytes | bytearray | memoryview) -> Path:
    """Write a whole file in one step; its folder is made where needed.

    Raises:
        WriteError: it cannot be written; what was there is untouched.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a whole file as UTF-8, as :func:`write_bytes` does; what has no UTF-8 is escaped."""
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def check_no_source(path: Path | None, sources: Iterable[Path]) -> None:
    """Refuse to write to what is read: a slip in ``-o`` would cost somebody's photo or video.

    Args:
        path: a file or folder that is to be written; ``None`` is none.
        sources: files and folders that are read; what is not there is none.

    Raises:
        WriteError: it is one of them, by whatever name.
    """
    lost = next((source for source in sources if path and _is_one(path, source)), None)
    if lost is not None:
        raise WriteError(
            f"{path} is not written: {lost} is read, and would be lost. Name another place."
        )


def check_output(
    path: Path | None, sources: Iterable[Path] = (), *, is_folder: bool = False
) -> None:
    """Refuse a file that cannot be written before there is any work, which would be lost.

    Args:
        path: of the file; its folder may be missing, and is not made. ``None`` is none.
        sources: what is read, as of :func:`check_no_source`.
        is_folder: files are written into ``path``.

    Raises:
        WriteError: nothing can be written there, or it is read.
    """
    check_no_source(path, sources)
    if path is None or takes_a_stream(path):
        return
    with _named(path):
        inside = path / _ANY if is_folder else path
        missing = [place for place in (inside, *inside.parents) if _is_missing(place)]
        for place in missing:  # a name that is too long is told where its folder is there
            _is_missing(missing[-1].parent / place.name)
        with temporary_beside(missing[-1] if missing else inside):  # so that no folder is made
            pass


def _is_missing(place: Path) -> bool:
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def _is_one(path: Path, other: Path) -> bool:
    try:
        return not takes_a_stream(path) and path.samefile(other)
    except (OSError, ValueError):  # one of them is not there
        return False


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file by what is written to the path that this yields, unless an error ends it.

    A link at ``path`` is replaced, not followed. A pipe or a device there, such as ``/dev/null``,
    takes the bytes at the end, as does what this process has open, such as ``/dev/stdout``.

    Args:
        path: the file to write; its folder is made where needed.

    Yields:
        Another path with the same name and suffix, to be written to.

    Raises:
        WriteError: it cannot be written; what was there is untouched.
    """
    with _named(path):
        if takes_a_stream(path):
            parent = Path(tempfile.gettempdir())
            remove_stale(parent)
            with locked_folder(parent) as folder:
                temporary = folder / path.name
                yield temporary
                with _stream(path) as stream:
                    stream.write(temporary.read_bytes())
            return
        with temporary_beside(path) as temporary:
            mode = _created(temporary)
            yield temporary
            temporary.chmod(mode)  # some writers leave a file that only its owner can read
            sync(temporary)
            temporary.replace(path)
            sync_one(path.absolute().parent)


@contextlib.contextmanager
def temporary_beside(destination: Path) -> Iterator[Path]:
    """A path on the file system of ``destination`` to build its successor at.

    Nothing is there yet; whatever is there at the end goes. Leftovers of dead processes in the
    same place go first.

    Args:
        destination: where the result will go; its parent folder is made where needed.
    """
    parent = destination.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    remove_stale(parent)
    with locked_folder(parent) as folder:
        yield folder / destination.name


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or a folder and all that is in it, to the disk."""
    for folder, _, files in os.walk(path):
        for name in files:
            sync_one(Path(folder, name))
        sync_one(Path(folder))
    if path.is_file():
        sync_one(path)


def sync_one(path: Path) -> None:
    """Flush a file or the names in a folder; Windows cannot open folders and needs no such call."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(parent: Path) -> None:
    """Remove what dead processes left in a folder."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        leftovers = [Path(entry.path) for entry in entries if entry.name.startswith(MARK)]
        for leftover in leftovers:
            with contextlib.suppress(OSError):
                _remove_abandoned(leftover)


def _remove_abandoned(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | _ONLY_A_FOLDER)
    try:
        if _lock(descriptor) or _is_ownerless(folder):
            remove(folder)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Take the lock of an open folder; whether this process has it now.

    Raises:
        OSError: another process holds it.
    """
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return False
    return True


def _is_ownerless(folder: Path) -> bool:
    is_gone = owner.is_gone(folder.name.removeprefix(MARK))
    return time.time() - folder.stat().st_mtime > _STALE_SECONDS if is_gone is None else is_gone


@contextlib.contextmanager
def locked_folder(parent: Path) -> Iterator[Path]:
    """A new folder that no other writer takes for a leftover; gone at the end.

    Args:
        parent: an existing folder.

    Raises:
        WriteError: other programs remove what is new there.
        OSError: nothing can be made there.
    """
    for _ in range(_ATTEMPTS):
        folder = parent / f"{MARK}{owner.name()}-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        descriptor = _held(folder)
        if descriptor is not None:
            break
    else:
        raise WriteError(f"{parent} cannot be written: other programs remove what is new there.")
    try:
        yield folder
    finally:
        remove(folder)
        if descriptor >= 0:
            os.close(descriptor)


def _held(folder: Path) -> int | None:
    """Descriptor that holds a new folder's lock, -1 without locks; ``None`` if it is lost.

    Between making and locking it, another writer may have taken it for a leftover.
    """
    if sys.platform == "win32":
        return -1
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        _lock(descriptor)
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _created(temporary: Path) -> int:
    """Make an empty file; the mode that this process gives to new ones."""
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def takes_a_stream(path: Path) -> bool:
    """Whether a pipe, a device or what this process has open is at a place, and no file of ours."""
    if open_descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def open_descriptor(path: Path) -> int | None:
    """The number that ``/dev/stdout``, ``/dev/fd/3`` and links to them stand for.

    The system follows them to whatever is open, so that a file seems to be at their place: it
    would be the name in ``/dev`` that a rename replaces.
    """
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # a loop, a folder not ours
        open_files = Path("/dev/fd"), Path("/dev/fd").resolve()
        for _ in range(_LINKS):
            if path.name.isdecimal() and path.parent.resolve() in open_files:
                return int(path.name)
            if not path.is_symlink():
                break
            path = path.parent / path.readlink()
    return None


_MOVED: dict[int, int] = {}


@contextlib.contextmanager
def descriptor_moved(number: int, place: int) -> Iterator[None]:
    """While it lasts, what is named by a descriptor's number is at another one.

    Args:
        number: such as 1 of ``/dev/stdout``, where something else is open meanwhile.
        place: the descriptor of what was open there.
    """
    _MOVED[number] = place
    try:
        yield
    finally:
        del _MOVED[number]


def _stream(path: Path) -> BinaryIO:
    descriptor = open_descriptor(path)
    descriptor = None if descriptor is None else _MOVED.get(descriptor, descriptor)
    return path.open("wb") if descriptor is None else os.fdopen(os.dup(descriptor), "wb")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn the system's errors about temporary names into one about the name the user gave."""
    try:
        yield
    except ValueError as error:
        if "null" not in str(error):
            raise
        raise WriteError(f"{path!r} is no name of a file: it holds a NUL.") from error
    except OSError as error:
        if isinstance(error, WriteError) or error.errno is None:
            raise
        raise _write_error(path, error.errno) from error
    except Exception as error:
        if (number := _number_of(error)) is None:
            raise
        raise _write_error(path, number) from error


def _write_error(path: Path, number: int) -> WriteError:
    remedy = _REMEDIES.get(number, "check the disk")
    places = (path, *path.parents)  # by os.path, for Path raises where one may not be looked into
    found = [place for place in places if os.path.exists(place)]  # noqa: PTH110
    on_the_way = [place for place in found if not os.path.isdir(place)]  # noqa: PTH112
    links = [place for place in places if os.path.islink(place)]  # noqa: PTH114
    loops = [link for link in links if link not in found]
    if on_the_way and number in (errno.EEXIST, errno.ENOTDIR):
        remedy = f"{on_the_way[0]} is a file, expected a folder, name another place"
    elif loops and number in (errno.EEXIST, errno.ELOOP, errno.ENOENT):
        remedy = f"{loops[0]} is a link that leads nowhere, name another place"
    reason = os.strerror(number)
    return WriteError(
        f"{path} cannot be written ({reason}), and what was there stays: {remedy}.", errno=number
    )


def _number_of(error: Exception) -> int | None:
    """The system's number of the reason, where a library has put it in words of its own."""
    found = re.search(r"\(os error (\d+)\)", str(error))  # Rust's, as safetensors passes it on
    return None if found is None else int(found[1])
