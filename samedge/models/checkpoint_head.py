"""Where a checkpoint's tensors lie, and what is none: found out before torch is loaded."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from samedge.bundle.manifest import combined_hash, file_hash
from samedge.errors import CheckpointError
from samedge.files import kinds
from samedge.files.kinds import Family, FileKind

_INDEX = ".index.json"
_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
_BESIDE_WEIGHTS = frozenset({"config.json", "preprocessor_config.json"})
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(\.\w+)")
_NAMED_AT_MOST = 12


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def weights_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a checkpoint's tensors.

    Args:
        path: a file; a folder of Hugging Face, its ``config.json``, its index or one of its shards.

    Raises:
        CheckpointError: there is none, a shard is missing, or the index names files elsewhere.
    """
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise CheckpointError(_nothing_at(path))
    if path.name in _BESIDE_WEIGHTS:
        return _in_folder(path.parent)
    if path.name.endswith(_INDEX):
        return _shards(path)
    shard = _SHARD.fullmatch(path.name)
    if shard is None:
        return (path,)
    index = path.with_name(f"{shard.group(1)}{shard.group(2)}{_INDEX}")
    if not index.is_file():
        raise CheckpointError(
            f"{path} is one part of a checkpoint in several files, and {index.name} is not beside "
            "it: fetch the whole folder."
        )
    return _shards(index)


def weights_hash(path: Path) -> str:
    """SHA-256 of a checkpoint: of its file, or over the hashes of its files.

    Args:
        path: as of :func:`weights_files`, which may raise.
    """
    files = weights_files(path)
    return combined_hash(files[0].name, {file.name: file_hash(file) for file in files})


def _nothing_at(path: Path) -> str:
    if path.is_symlink():
        return f"{path} is a link that leads to no file: fetch what it should lead to."
    if os.path.lexists(path):
        return f"{path} is a device or a pipe, expected a checkpoint's file."
    return f"There is no checkpoint at {path}: give the path of a file."


def _in_folder(folder: Path) -> tuple[Path, ...]:
    for name in _IN_FOLDERS:
        if (folder / name).is_file():
            return (folder / name,)
        if (folder / f"{name}{_INDEX}").is_file():
            return _shards(folder / f"{name}{_INDEX}")
    found = sorted(entry.name for entry in folder.iterdir())
    if "bundle.json" in found:
        raise CheckpointError(f"{folder} is a bundle, which is exported already: use --bundle.")
    raise CheckpointError(
        f"There is no checkpoint at {folder / _IN_FOLDERS[0]}: the folder holds "
        f"{some(found) or 'nothing'}. Expected {', '.join(_IN_FOLDERS)} or an index of shards; "
        "otherwise give the path of a file."
    )


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        names = set(msgspec.json.decode(index.read_bytes(), type=_Index).weight_map.values())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{index} is no index of a checkpoint in several files ({error}): fetch it again."
        ) from error
    outside = sorted(name for name in names if Path(name).name != name)
    if outside or not names:
        raise CheckpointError(
            f"{index} names {some(outside) or 'no file'}, expected names of files beside it."
        )
    missing = sorted(name for name in names if not index.with_name(name).is_file())
    if missing:
        raise CheckpointError(
            f"{index} names {len(names)} files, and {some(missing)} is not beside it: fetch the "
            "whole folder."
        )
    return tuple(index.with_name(name) for name in sorted(names))


def checked_head(file: Path) -> tuple[bytes, int]:
    """The first bytes of a checkpoint's file, and its size.

    Raises:
        CheckpointError: it cannot be read, or is what is taken for a checkpoint most often.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            head = opened.read(kinds.HEAD_BYTES)
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read ({error.strerror}): check its rights."
        ) from error
    _refuse_other_files(file, head, size)
    return head, size


def _refuse_other_files(file: Path, head: bytes, size: int) -> None:
    """Name what is taken for a checkpoint most often, and what to do.

    Raises:
        CheckpointError: it is one of those.
    """
    kind = kinds.kind_of(head)
    ending = file.suffix.lower()
    if kind is not None and kind.is_of_transfer:
        found = _other_archive(file) if kind is kinds.ZIP else _not_come(kind, size)
    elif ending in kinds.EXPORTED_ENDINGS:
        found = (
            f"is {kinds.EXPORTED_ENDINGS[ending]} ({file.suffix}): give the checkpoint that it was "
            "made from"
        )
    elif kind is kinds.HDF5:
        found = "is HDF5, as Keras writes it: give the weights that torch wrote"
    elif kind is not None and kind.family is not Family.WEIGHTS:
        found = f"is {kind.what}, not weights: give the file that holds the tensors"
    elif kind is None and not (head.startswith(b"\x80") or ending == ".safetensors"):
        found = (
            f"begins with {head[:12]!r}, as no file of torch or safetensors does: fetch it again"
        )
    else:
        found = ""
    if found:
        raise CheckpointError(f"{file} {found}.")


def _not_come(kind: FileKind, size: int) -> str:
    """What is said of a file that holds no weights yet."""
    if kind.family is Family.NOTHING:
        return "is empty: download it again"
    if kind.fetched_by:
        return f"is {kind.what} of {size} bytes, not the weights: run '{kind.fetched_by}' beside it"
    if kind.family is Family.ARCHIVE:
        return f"is {kind.what}: unpack it first"
    return f"is {kind.what}, not weights: open its address in a browser and save the file itself"


def _other_archive(file: Path) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "is cut off, the end of the archive is missing: download or copy it again"
    leaves = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in leaves:
        return (
            "is a TorchScript program, not weights: where it was made, write "
            "torch.save(model.state_dict(), 'weights.pth')"
        )
    if "data.pkl" in leaves:
        return ""
    if "bundle.json" in leaves:
        return "is a bundle, which is exported already: use --bundle"
    return f"is a zip file without torch's weights ({some(names)}): unpack it, give the file inside"


def some(names: Iterable[str]) -> str:
    """The first names of many, with commas, and how many more there are."""
    listed = list(names)
    rest = len(listed) - _NAMED_AT_MOST
    return ", ".join(listed[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
