"""Segment Anything in torch: image encoder, prompt encoder and mask decoder under one roof.

Source: Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643). The mathematics is SAM's, so
official checkpoints load; the writing is for deployment (see ``prompt_encoder``, ``mask_decoder``).
"""

from __future__ import annotations

from torch import Tensor, nn

from samedge.models.mask_decoder import MaskDecoder
from samedge.models.prompt_encoder import PromptEncoder, token_bias
from samedge.models.promptable import PromptableModel, image_embeddings


class Sam(PromptableModel):
    """Segment Anything.

    Args:
        image_encoder: normalised (B, 3, S, S) to (B, C, S/16, S/16).
        prompt_encoder: prompts to tokens and a dense map.
        mask_decoder: tokens and image to masks.
    """

    decoder_name = "sam"

    def __init__(
        self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder
    ) -> None:
        channels = prompt_encoder.padding_embedding.shape[1]
        super().__init__(
            image_encoder, prompt_encoder.image_size, maps=(image_embeddings(channels),)
        )
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    def decode(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`PromptableModel.decode`."""
        tokens, dense = self.prompt_encoder(point_coords, point_labels, mask_input, has_mask_input)
        low_res_masks, iou_predictions = self.mask_decoder(
            image_embeddings + dense,
            self.prompt_encoder.dense_position(),
            tokens,
            token_bias(point_labels),
        )
        return low_res_masks, iou_predictions


def build_sam(
    image_encoder: nn.Module,
    image_size: int = 1024,
    *,
    embed_dim: int = 256,
    depth: int = 2,
    heads: int = 8,
    mlp_dim: int = 2048,
) -> Sam:
    """Put SAM's prompt encoder and mask decoder on an image encoder.

    Args:
        image_encoder: normalised (B, 3, S, S) to (B, embed_dim, S/16, S/16).
        image_size: side S of the padded square input, a multiple of 16.
        embed_dim: channels of the image embedding; 256 in every real model.
        depth: two-way layers of the decoder.
        heads: attention heads of the decoder.
        mlp_dim: hidden width of the decoder's MLPs.
    """
    return Sam(
        image_encoder,
        PromptEncoder(embed_dim, image_size=image_size),
        MaskDecoder(embed_dim, depth=depth, heads=heads, mlp_dim=mlp_dim),
    )
