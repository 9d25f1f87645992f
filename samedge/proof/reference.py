"""The model in torch, asked like an opened graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from samedge.models.promptable import PromptableModel

Array = npt.NDArray[Any]


class TorchReference:
    """What exported files are compared with; a :class:`samedge.proof.parity.ReferenceGraphs`.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: PromptableModel) -> None:
        self.model, self.image_size = model, model.image_size

    def encoder(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """``image`` to ``image_embeddings``."""
        with torch.inference_mode():
            image = torch.from_numpy(feeds["image"])
            return {"image_embeddings": np.asarray(self.model.encode(image).numpy())}

    def decoder(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The decoder's five inputs to its two outputs."""
        names = ("point_coords", "point_labels", "mask_input", "has_mask_input")
        with torch.inference_mode():
            masks, quality = self.model.decode(
                *(torch.from_numpy(feeds[name]) for name in ("image_embeddings", *names))
            )
        return {"low_res_masks": masks.numpy(), "iou_predictions": quality.numpy()}
