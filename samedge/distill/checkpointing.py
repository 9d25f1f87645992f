"""Training state on disk: the old file or the new one, never half of one."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from samedge.errors import CheckpointError
from samedge.files.writing import write_bytes

FORMAT = "samedge.training/1"

State = dict[str, Any]
"""Tensors, numbers, strings, lists and dictionaries of them, as torch saves them."""


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state of tensors, numbers, strings, lists and dictionaries.

    Args:
        path: the file to replace.
        state: what ``load_state`` will return, without its format.

    Raises:
        WriteError: it cannot be written; what was there is untouched.
    """
    buffer = io.BytesIO()  # torch's own writer ends the process where the disk is full
    torch.save({"format": FORMAT, **state}, buffer)
    write_bytes(path, buffer.getbuffer())


def load_state(path: Path) -> State:
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
