"""Trained models that a recipe names, and what is asked of a teacher."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from samedge.models.promptable import PromptableModel
from samedge.models.zoo import load_model


def open_model(name: str, *, root: Path, image_size: int) -> PromptableModel:
    """Open a trained model that a recipe names.

    Args:
        name: a checkpoint, relative to ``root`` or to the working directory, or a name of the
            model zoo.
        root: the data's root.
        image_size: side of the input to build it for.

    Raises:
        UnknownNameError: neither a file nor a name of the zoo.
        CheckpointError: the file is missing, does not fit, or takes no such size.
    """
    below = root / name
    return load_model(below if below.is_file() else name, image_size=image_size)


def weights_hash(model: torch.nn.Module) -> str:
    """Hash of a model's weights and of their names, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        flat = tensor.detach().cpu().reshape(-1).contiguous()  # a scalar cannot be viewed as bytes
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def pooled_to_grid(embeddings: Tensor, side: int) -> Tensor:
    """Average (B, C, h, h) embeddings by area onto a coarser grid of ``side`` cells."""
    if embeddings.shape[-1] == side:
        return embeddings
    return F.interpolate(embeddings, size=(side, side), mode="area")
