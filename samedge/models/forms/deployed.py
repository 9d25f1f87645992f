"""SAM's prompt encoder and mask decoder as they are deployed: the same numbers, written for speed.

The rewritten decoder takes about half the arithmetic of the plain module; see ``absorbed`` for the
attention and ``channels_last`` for the convolutions, and ``benchmarks/foundation_speed.py`` for the
time against the official decoder. Nothing is moved to encode time: once the projections are
absorbed, what depends on the image alone is one addition, and storing its result would double the
embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.forms.absorbed import AbsorbedLayer, TokensReadImage
from samedge.models.forms.channels_last import (
    MaskEmbedding,
    Upscaling,
    grid_from_subpixels,
    positions_from_grid,
)
from samedge.models.prompt_encoder import token_bias
from samedge.models.sam import Sam


class DeployedDecoder(nn.Module):
    """Everything after the image encoder, equal to ``Sam.decode`` up to rounding.

    Args:
        model: where the weights come from; it stays as it is.
        centred: as of :class:`~samedge.models.forms.channels_last.Upscaling`.
        masks_padding: whether surplus padding points are kept out of the attention, which makes
            padding a prompt exact. Meta's own export keeps none out.
    """

    def __init__(self, model: Sam, *, centred: bool = False, masks_padding: bool = True) -> None:
        super().__init__()
        self.masks_padding = masks_padding
        decoder = model.mask_decoder
        self.num_masks = decoder.num_masks
        self.grid_size = model.image_size // 16
        self.prompts = model.prompt_encoder
        self.mask_embedding = MaskEmbedding(model.prompt_encoder)
        self.output_tokens = decoder.output_tokens
        self.layers = nn.ModuleList(
            AbsorbedLayer(layer)  # type: ignore[arg-type]
            for layer in decoder.transformer.layers
        )
        self.final_token_to_image = TokensReadImage(decoder.transformer.final_token_to_image)
        self.norm_final = decoder.transformer.norm_final
        self.upscaling = Upscaling(decoder.upscaling, centred=centred)
        self.hypernetworks, self.iou_head = decoder.hypernetworks, decoder.iou_head

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As ``Sam.decode``."""
        bias = token_bias(point_labels) if self.masks_padding else torch.zeros_like(point_labels)
        image = positions_from_grid(image_embeddings)
        image = image + self.mask_embedding(mask_input, has_mask_input)
        prompts = self.prompts.embed_points(point_coords, point_labels)
        tokens, image = self._transform(prompts, image, bias)
        weights = torch.stack(
            [mlp(tokens[:, 1 + index]) for index, mlp in enumerate(self.hypernetworks)], dim=-1
        )
        logits = self.upscaling(image) @ weights  # (B, 16 P, masks)
        return grid_from_subpixels(logits, self.grid_size), self.iou_head(tokens[:, 0])

    def _transform(self, prompts: Tensor, image: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The two-way transformer on (B, N, C) prompt tokens and (B, P, C) positions."""
        output = self.output_tokens.unsqueeze(0).expand(prompts.shape[0], -1, -1)
        tokens = token_pe = torch.cat([output, prompts], dim=1)
        bias = F.pad(bias, (1 + self.num_masks, 0))
        image_pe = positions_from_grid(self.prompts.dense_position())
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe=token_pe, image_pe=image_pe, bias=bias)
        update = self.final_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final(tokens + update), image
