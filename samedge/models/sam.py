"""Segment Anything in torch: image encoder, prompt encoder and mask decoder under one roof.

Source: Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643). The mathematics is SAM's, so
official checkpoints load; the writing is for deployment (see ``prompt_encoder``, ``mask_decoder``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samedge.models.layers import LayerNorm2d
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


class PatchEncoder(nn.Module):
    """The smallest encoder that sees the whole image: patches of 16 and one mixing layer."""

    def __init__(self, embed_dim: int = 256) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, embed_dim, kernel_size=16, stride=16)
        self.mix = nn.Conv2d(embed_dim, embed_dim, kernel_size=3, padding=1, groups=embed_dim)
        self.norm = LayerNorm2d(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised (B, 3, S, S) to (B, C, S/16, S/16)."""
        x = self.patches(x)
        out: Tensor = self.norm(x + self.mix(torch.relu(x)))
        return out


def tiny_sam(image_size: int = 128, *, embed_dim: int = 256, seed: int = 0) -> Sam:
    """A random SAM for tests: right names, shapes and semantics, milliseconds a call.

    Args:
        image_size: side S of the input, in pixels.
        embed_dim: channels of the image embedding.
        seed: of the random weights; the global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = build_sam(
            PatchEncoder(embed_dim), image_size, embed_dim=embed_dim, heads=4, mlp_dim=64
        )
    return sam.eval().requires_grad_(requires_grad=False)
