"""Training state on disk: the old file or the new one, never half of one.

A checkpoint is one file written under a temporary name, flushed to the disk and moved into place
by one rename, so that a machine that dies at any moment leaves the last whole one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from samedge.errors import CheckpointError

FORMAT = "samedge.training/1"


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Replace a file by what is written to the path that this yields, unless an error ends it.

    Args:
        path: the file to replace; its folder exists.

    Yields:
        A path in the same folder, with the same suffix.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.chmod(0o644)  # some writers leave a file that only its owner can read
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows cannot open folders and needs no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state of tensors, numbers, strings, lists and dictionaries.

    Args:
        path: the file to replace.
        state: what ``load_state`` will return, without its format.
    """
    with replaced(path) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state; nothing but tensors and plain values is ever unpickled.

    Raises:
        CheckpointError: the file cannot be read, or it is not a training state.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its bytes suggest
        raise CheckpointError(f"{str(path)!r} is not a readable checkpoint: {error}.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"{str(path)!r} is of format {found!r}, expected {FORMAT!r}.")
    return state
