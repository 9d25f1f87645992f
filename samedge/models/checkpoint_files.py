"""Where a checkpoint's tensors lie, and reading them: files, folders of Hugging Face, shards.

A file is read by what it holds, not by its name. A pickle is read with ``weights_only=True`` and by
nothing else; what that refuses stays unread.
"""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from pathlib import Path

import msgspec
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from samedge.errors import CheckpointError
from samedge.models.checkpoint_head import checked_head, some
from samedge.models.checkpoint_names import unwrapped_tensors, without_prefix

METADATA = "samedge"
"""Key of our own description in a safetensors file."""

_SAFE_TORCH = (2, 10)
"""First release without the known holes of ``weights_only`` (CVE-2025-32434, CVE-2026-24747)."""

_INDEX = ".index.json"
_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
_BESIDE_WEIGHTS = frozenset({"config.json", "preprocessor_config.json"})
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(\.\w+)")
_REFUSED = re.compile(r"(?i)unsupported (?:global|class|operand)\S*\s*(?:GLOBAL )?([\w.]*)")
_OF_MODELS = re.compile(r"torch\.nn\.|segment_anything|mobile_sam|.*\.model(ing|s)?\.")


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a checkpoint holds.

    Attributes:
        path: for messages.
        tensors: by the names that their family has.
        description: our own record, if it is one of ours.
        notes: what was taken off, in words.
        beside: names that stand beside the model where all of the model's are under one prefix.
    """

    path: Path
    tensors: dict[str, Tensor]
    description: str | None = None
    notes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


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


def read_weights(path: Path) -> Weights:
    """Read every tensor of a checkpoint.

    Args:
        path: as of :func:`weights_files`.

    Raises:
        CheckpointError: nothing is there, or it is damaged, unsafe or no checkpoint; says which.
    """
    parts = [_read(file) for file in weights_files(path)]
    if parts[0].description is not None:
        return parts[0]
    tensors: dict[str, Tensor] = {}
    for part in parts:
        twice = sorted(tensors.keys() & part.tensors.keys())
        if twice:
            raise CheckpointError(f"{part.path} holds tensors of another part: {some(twice)}.")
        tensors.update(part.tensors)
    named, prefix, notes = without_prefix(tensors, path)
    said = dict.fromkeys(note for part in parts for note in part.notes)
    beside = tuple(name for name in tensors if prefix and name in named)
    return Weights(path, named, notes=(*said, *notes), beside=beside)


def _read(file: Path) -> Weights:
    head, size = checked_head(file)
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= size - 8:
        return _read_safetensors(file)
    if file.suffix == ".safetensors" and not head.startswith((b"PK", b"\x80")):
        return _read_safetensors(file)  # which says what is wrong with it
    return _read_pickle(file)


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by name, and its metadata.

    Raises:
        CheckpointError: it is missing, damaged or no such file.
    """
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
        return safetensors.torch.load_file(file), metadata
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read ({error.strerror or error}): check the path."
        ) from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{file} is not a readable safetensors file: {error}. It may be truncated: "
            "download it again."
        ) from error


def _read_safetensors(file: Path) -> Weights:
    tensors, metadata = read_safetensors(file)
    return Weights(file, tensors, metadata.get(METADATA))


def _read_pickle(file: Path) -> Weights:
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _SAFE_TORCH:
        raise CheckpointError(
            f"torch {torch.__version__} can be made to execute code from {file} even with "
            "weights_only=True (CVE-2025-32434, CVE-2026-24747): install torch 2.10 or later, or "
            "give a safetensors file."
        )
    try:
        with file.open("rb") as opened, warnings.catch_warnings():  # a path is read by its suffix
            warnings.simplefilter("ignore")  # of pickle protocols; what matters is raised
            state = torch.load(opened, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler meeting strange bytes raises whatever it likes
        raise CheckpointError(_unread(file, error)) from error
    tensors, notes = unwrapped_tensors(state, file)
    return Weights(file, tensors, notes=notes)


def _unread(file: Path, error: Exception) -> str:
    reason = _reason(error)
    refused = _REFUSED.search(reason)
    name = refused.group(1) if refused else ""
    if name.startswith("ultralytics"):
        return (
            f"{file} is a model of Ultralytics, such as FastSAM or YOLO ({reason}): samedge has no "
            "such model. Give a checkpoint of SAM."
        )
    if _OF_MODELS.match(name):
        return (
            f"{file} is a whole pickled model ({reason}), and samedge never unpickles one, since "
            "that runs code. Where it was trained, write torch.save(model.state_dict(), "
            "'weights.pth'), and give that file."
        )
    if refused:
        return (
            f"{file} could not be read as plain weights ({reason}): it holds more than tensors, "
            "which samedge never unpickles, since that runs code. Where it was trained, write "
            "torch.save(model.state_dict(), 'weights.pth'), and give that file."
        )
    return (
        f"{file} could not be read as plain weights ({reason}). It is truncated, or it holds more "
        "than tensors, which samedge never unpickles: save its state_dict() instead."
    )


def _reason(error: Exception) -> str:
    """What an unpickler says is wrong, in one line.

    torch puts the advice to load the file unsafely around it, which is nothing to pass on.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line.partition("error: ")[2] for line in lines if "Unpickler error: " in line]
    kept = told or [line for line in lines if "weights_only" not in line]
    first = kept[0] if kept else type(error).__name__
    return first.partition(" Please use ")[0].rstrip(". ")
