"""Reading a checkpoint's tensors, wherever they lie: files, folders of Hugging Face, shards.

A file is read by what it holds, not by its name. A pickle is read with ``weights_only=True`` and by
nothing else; what that refuses stays unread.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from samedge.errors import CheckpointError
from samedge.models.checkpoint_head import checked_head, some, weights_files
from samedge.models.checkpoint_names import unwrapped_tensors, without_prefix

METADATA = "samedge"
"""Key of our own description in a safetensors file."""

_SAFE_TORCH = (2, 10)
"""First release without the known holes of ``weights_only`` (CVE-2025-32434, CVE-2026-24747)."""

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
