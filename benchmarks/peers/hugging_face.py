"""The ViT-B checkpoint under the names of transformers' ``SamModel``, with samedge's key maps.

python hugging_face.py FILE.pth TENSORS.safetensors
"""

from __future__ import annotations

import sys

import safetensors.torch
import torch

from samedge.models.checkpoints import load_checkpoint
from samedge.models.keymaps import HUGGING_FACE


def main() -> None:
    checkpoint, path = sys.argv[1:]
    found: dict[str, torch.Tensor] = {}
    for name, tensor in load_checkpoint(checkpoint).state_dict().items():
        names = HUGGING_FACE.sources(name)
        rows = [1] * (len(names) - 1)
        parts = tensor.split([*rows, len(tensor) - len(rows)])  # one row each, the last the rest
        found |= {key: part.contiguous() for key, part in zip(names, parts, strict=True)}
    safetensors.torch.save_file(found, path)


if __name__ == "__main__":
    main()
