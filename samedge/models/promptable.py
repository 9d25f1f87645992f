"""What export and evaluation ask of a model, whatever decodes its prompts."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from samedge.models.layers import Normalize
from samedge.models.spec import ModelSpec


class PromptableModel(nn.Module, ABC):
    """What export and evaluation ask of a model: an image encoder and a way to decode prompts.

    Args:
        image_encoder: normalised (B, 3, S, S) to (B, C, S/16, S/16).
        image_size: side S of the padded square input, in pixels.

    Attributes:
        spec: what was built, and the name, licence and origin of the weights; ``None`` for a
            model that was put together by hand.
    """

    spec: ModelSpec | None = None

    def __init__(self, image_encoder: nn.Module, image_size: int) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.image_encoder = image_encoder
        self.image_size = image_size

    def encode(self, image: Tensor) -> Tensor:
        """Embed padded images.

        Args:
            image: (B, S, S, 3) RGB 0..255, uint8 or float, padded right and bottom.

        Returns:
            (B, C, S/16, S/16) float.
        """
        embeddings: Tensor = self.image_encoder(self.normalize(image))
        return embeddings

    @abstractmethod
    def decode(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts on one image, or on B images.

        Args:
            image_embeddings: (1, C, S/16, S/16), or (B, ...) with one image a prompt.
            point_coords: (B, N, 2) xy pixels of the padded S x S input.
            point_labels: (B, N) float; 1 foreground, 0 background, 2/3 box corners, -1 padding
                (the first beside points without a box is SAM's own padding point, every other is
                masked out), below -1 ignored.
            mask_input: (B, 1, S/4, S/4) low-res logits.
            has_mask_input: (B,) 1 where ``mask_input`` counts, else 0.

        Returns:
            ``low_res_masks`` (B, 4, S/4, S/4) logits and ``iou_predictions`` (B, 4).
        """

    def forward(
        self,
        image: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """``encode`` and ``decode`` in one call."""
        embeddings = self.encode(image)
        return self.decode(embeddings, point_coords, point_labels, mask_input, has_mask_input)
