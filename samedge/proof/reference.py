"""The model in torch, asked like an opened bundle."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from samedge.errors import BundleError
from samedge.models.promptable import PromptableModel
from samedge.types import (
    IMAGE,
    IOU_PREDICTIONS,
    LOW_RES_MASKS,
    PROMPT_TENSORS,
    Array,
    Role,
)


class TorchReference:
    """What exported files are compared with; a :class:`samedge.proof.parity.ReferenceGraphs`.

    Args:
        model: in evaluation mode.

    Attributes:
        model: as given.
        frame: how images get into it.
    """

    def __init__(self, model: PromptableModel) -> None:
        self.model, self.frame = model, model.frame

    def run(self, role: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every output of a graph by name, as the file with this role would give it.

        Args:
            role: ``encoder`` or ``decoder``.
            feeds: by name; what the graph does not take is left out.

        Raises:
            BundleError: the model has no such graph.
        """
        with torch.inference_mode():
            if role == Role.ENCODER:
                found = self.model.embed(torch.from_numpy(feeds[IMAGE]))
            elif role == Role.DECODER:
                found = self._decoded(feeds)
            else:
                raise BundleError(f"The model in torch has no {role}: ask encoder or decoder.")
        return {name: tensor.numpy() for name, tensor in found.items()}

    def _decoded(self, feeds: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        names = self.model.embedding_names
        tensors = {name: torch.from_numpy(feeds[name]) for name in names}
        prompts = [torch.from_numpy(feeds[name]) for name in PROMPT_TENSORS]
        masks, quality = self.model.decode_embedded(tensors, *prompts)
        return {LOW_RES_MASKS: masks, IOU_PREDICTIONS: quality}
