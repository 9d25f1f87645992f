"""Random weights in the official layouts, in segment-anything's and samexporter's own classes.

    env-peers/bin/python weights.py mobile-sam FILE.pth
    env-peers/bin/python weights.py vit-b FILE.pth

What their classes set to zero or one (positions, biases, running statistics) gets random values
too, so that no contender can fold anything away that a trained model would need.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from segment_anything import sam_model_registry


def build(family: str) -> Any:
    torch.manual_seed(0)
    if family == "vit-b":
        return sam_model_registry["vit_b"]()
    from samexporter.mobile_encoder.setup_mobile_sam import setup_model

    return setup_model()


def shaken(model: Any) -> dict[str, Any]:
    """The state with every constant tensor made random, small enough to keep the scale."""
    state = model.state_dict()
    for name, tensor in state.items():
        constant = tensor.is_floating_point() and tensor.numel() > 1 and tensor.std() == 0
        if constant and not name.startswith("pixel_"):
            tensor.add_(torch.randn_like(tensor) * 0.02)
            if name.endswith("running_var"):
                tensor.abs_()
    return state


def main() -> None:
    family, path = sys.argv[1:]
    torch.save(shaken(build(family)), path)


if __name__ == "__main__":
    main()
