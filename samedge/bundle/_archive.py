"""A bundle as one ``.samedge`` file: a zip that stores and never compresses.

Stored-only keeps the file as fast as the folder and leaves nothing to inflate; the reader takes no
links, no paths that leave the folder, and no member twice.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from samedge.bundle import foreign
from samedge.errors import BundleError

SUFFIX, MANIFEST = ".samedge", "bundle.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # one content, one archive
_MAX_MEMBERS = 10_000
_SHOWN = 60  # characters of a member's name
# What zipfile meets in a damaged archive: impossible places, versions, flags and names.
_DAMAGED = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError)
# What the folder answers that is written to: full, read-only, forbidden.
_OF_THE_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def pack(folder: Path, archive: Path) -> None:
    """Write every file of ``folder`` into a stored-only zip, in sorted order."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as content:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            with path.open("rb") as source, content.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)


def read_member(archive: Path, name: str) -> bytes:
    """Content of one member.

    Raises:
        BundleError: not a sound stored-only zip, or no such member.
    """
    with _opened(archive) as content:
        if name not in content.namelist():
            remedy = _remedy_for_none(content.namelist(), name)
            raise BundleError(f"{archive} holds no {name}, so it is no bundle: {remedy}.")
        try:
            return content.read(name)
        except _DAMAGED as error:
            raise BundleError(f"{archive} is damaged ({error}): fetch it again.") from error


def _remedy_for_none(members: Iterable[str], name: str) -> str:
    """What to do with an archive that has no manifest at its top, such as one of a folder."""
    for member in members:
        folder, _, last = member.rpartition("/")
        if last == name or member.endswith(SUFFIX):
            return f"unpack it, and name its {member if last != name else folder}"
    return "export it again with samedge"


def unpack(archive: Path, folder: Path, *, names: Iterable[str]) -> None:
    """Extract members of a stored-only zip into ``folder``, which must not exist.

    Args:
        archive: the zip.
        folder: where the members go.
        names: the members wanted; those that are missing are left out, others are not extracted.

    Raises:
        BundleError: damaged, compressed, or a member that is a link or leaves the folder.
        OSError: the folder cannot be written to.
    """
    with _opened(archive) as content:
        folder.mkdir()
        for name in set(names) & set(content.namelist()):
            target = folder.joinpath(*PurePosixPath(name).parts)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with content.open(name) as source, target.open("xb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
            except _DAMAGED as error:
                if isinstance(error, OSError) and error.errno in _OF_THE_PLACE:
                    raise  # no fault of the archive's; the caller may know another place
                reason = getattr(error, "strerror", None) or error
                raise BundleError(
                    f"{archive} is damaged ({reason}: {name[:_SHOWN]}): fetch it again."
                ) from error


def hash_member(archive: Path, name: str) -> str:
    """SHA-256 of a member, as it lies in the archive.

    Raises:
        BundleError: damaged, or no such member.
    """
    digest = hashlib.sha256()
    with _opened(archive) as content:
        try:
            with content.open(name) as source:
                while part := source.read(1 << 20):
                    digest.update(part)
        except KeyError as error:
            raise BundleError(f"{archive} holds no {name}: fetch or export it again.") from error
        except _DAMAGED as error:
            raise BundleError(f"{archive} is damaged ({error}): fetch it again.") from error
    return digest.hexdigest()


def _opened(archive: Path) -> zipfile.ZipFile:
    try:
        content = zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        what, remedy = foreign.description(archive)
        raise BundleError(f"{archive} {what}: {remedy}.") from error
    except _DAMAGED as error:
        raise BundleError(f"{archive} is not a .samedge file ({error}): fetch it again.") from error
    names = content.namelist()
    other = None if MANIFEST in names else foreign.of_archive(archive, names)
    reason = _refusal(content, archive.stat().st_size)
    if reason or other:
        content.close()
    if other:
        raise BundleError(f"{archive} {other[0]}: {other[1]}.")
    if reason:
        raise BundleError(f"{archive} is refused: {reason}. Pack bundles with samedge.")
    return content


def _refusal(content: zipfile.ZipFile, archive_bytes: int) -> str | None:
    """Why an archive is not one that :func:`pack` could have written, or ``None``."""
    entries = content.infolist()
    names = [entry.filename for entry in entries]
    if len(entries) > _MAX_MEMBERS:
        return f"it has {len(entries)} members, limit {_MAX_MEMBERS}"
    if len({name.casefold() for name in names}) != len(names):
        return "it holds a member twice"
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return "it is compressed, expected stored: unpack it, and name the folder"
    if sum(entry.file_size for entry in entries) > archive_bytes:
        return "its members claim more bytes than the file has"
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.flag_bits & 1:
            return f"{entry.filename} is encrypted"
        if entry.is_dir():
            return f"{entry.filename} is not a plain file but a folder: unpack it, and name that"
        if kind not in (0, stat.S_IFREG):
            return f"{entry.filename} is not a plain file"
        if not is_safe_path(entry.filename):
            return f"{entry.filename!r} leaves the folder"
    return None


def is_safe_path(name: str) -> bool:
    """Whether a relative path stays inside its folder on every system."""
    parts = name.split("/")
    return bool(name) and not any(
        part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts
    )
