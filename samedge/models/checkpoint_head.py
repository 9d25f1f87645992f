"""What a file is that was named as a checkpoint and is none: found before torch is loaded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from samedge.errors import CheckpointError

_HEAD_BYTES = 1024
_EXPORTED = frozenset({".onnx", ".xml", ".engine", ".plan", ".pt2", ".tflite", ".mlmodel"})
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<error")
_NAMED_AT_MOST = 12


def checked_head(file: Path) -> tuple[bytes, int]:
    """The first bytes of a checkpoint's file, and its size.

    Raises:
        CheckpointError: it cannot be read, or is what is taken for a checkpoint most often.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
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
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if size == 0:
        found = "is empty: download it again"
    elif head.startswith(b"version https://git-lfs.github.com/spec/"):
        found = (
            f"is a Git LFS pointer of {size} bytes, not the weights: run 'git lfs pull' beside it"
        )
    elif file.suffix.lower() in _EXPORTED:
        found = f"is an exported graph ({file.suffix}): give the checkpoint that it was made from"
    elif text.startswith(_PAGES):
        found = "is a web page, not weights: open its address in a browser and save the file itself"
    elif text.startswith((b"{", b"[")):
        found = "is JSON, not weights: give the file that holds the tensors"
    elif head.startswith(b"\x1f\x8b"):
        found = "is compressed by gzip: unpack it first"
    elif head[257:262] == b"ustar":
        found = "is a tar archive: unpack it first"
    elif head.startswith(b"\x89HDF"):
        found = "is HDF5, as Keras writes it: give the weights that torch wrote"
    elif head.startswith(b"PK\x03\x04"):
        found = _other_archive(file)
    elif not (head.startswith(b"\x80") or head[8:9] == b"{" or file.suffix == ".safetensors"):
        found = (
            f"begins with {head[:12]!r}, as no file of torch or safetensors does: fetch it again"
        )
    else:
        found = ""
    if found:
        raise CheckpointError(f"{file} {found}.")


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
