"""SAM's prompt encoder: points, boxes and masks to tokens and a dense map.

Source: Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643), appendix A; the positional
encoding is Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions", 2020.

Written for deployment: a label selects its embedding by ``(label == i) * embedding``, the mask
prompt is blended in by ``has_mask_input``, and nothing depends on the data's values for its shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from samedge.models.layers import LayerNorm2d
from samedge.models.windows import Constant
from samedge.types import BACKGROUND, BOX_TOP_LEFT, PADDING

MASKED_BIAS = -1e4
"""What a masked token adds to its attention scores: exp() of it is 0 in fp32, and fp16 holds it."""


class FourierEncoding(nn.Module):
    """Random-Fourier positional encoding of points in the unit square."""

    gaussian: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("gaussian", torch.randn(2, channels // 2))

    def forward(self, unit_xy: Tensor) -> Tensor:
        """Encode (..., 2) xy in 0..1 as (..., channels)."""
        angles = (2.0 * math.pi) * ((2.0 * unit_xy - 1.0) @ self.gaussian)
        return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)


class GridEncoding(Constant):
    """The encoding of every cell's centre.

    Args:
        position: what encodes a point.
        size: side of the grid.
    """

    def __init__(self, position: FourierEncoding, size: int) -> None:
        super().__init__()
        self._position = (position,)  # a tuple, so that its tensors are not registered twice
        self.size = size

    def compute(self) -> Tensor:
        """Encode the centres as (1, channels, size, size)."""
        gaussian = self._position[0].gaussian
        centres = (torch.arange(self.size, device=gaussian.device) + 0.5) / self.size
        ys, xs = torch.meshgrid(centres, centres, indexing="ij")
        encoded: Tensor = self._position[0](torch.stack([xs, ys], dim=-1).to(gaussian.dtype))
        return encoded.permute(2, 0, 1).unsqueeze(0)


def token_bias(labels: Tensor) -> Tensor:
    """Additive attention bias that makes padding a prompt exact.

    SAM itself adds one padding point, to prompts of points without a box. So a token is masked when
    its label is below -1, or when it is -1 and the prompt has a box corner, or has no point, or the
    token is not the first -1 of its row.

    Args:
        labels: (B, N) float.

    Returns:
        (B, N) float, 0 where the token counts and ``MASKED_BIAS`` where it does not.
    """
    padding = (labels == PADDING).to(labels.dtype)
    index = torch.arange(labels.shape[1], device=labels.device)
    before = (index[None, :] < index[:, None]).to(labels.dtype)
    repeated = (padding @ before.t()) > 0.5
    largest = labels.amax(dim=1, keepdim=True)
    not_just_points = (largest >= BOX_TOP_LEFT) | (largest < BACKGROUND)
    surplus = (repeated | not_just_points).to(labels.dtype) * padding
    ignored = (labels < PADDING).to(labels.dtype)
    return (surplus + ignored) * MASKED_BIAS


class PromptEncoder(nn.Module):
    """Points, box corners and a mask to sparse tokens and a dense map.

    Args:
        embed_dim: channels of the image embedding.
        image_size: side S of the padded square input, in pixels.
        mask_channels: channels of the mask path's second convolution.
    """

    def __init__(self, embed_dim: int = 256, *, image_size: int = 1024, mask_channels: int = 16):
        super().__init__()
        self.image_size = image_size
        self.position = FourierEncoding(embed_dim)
        self.grid = GridEncoding(self.position, image_size // 16)
        self.label_embeddings = nn.Parameter(torch.randn(4, embed_dim))
        self.padding_embedding = nn.Parameter(torch.randn(1, embed_dim))
        self.no_mask_embedding = nn.Parameter(torch.randn(1, embed_dim))
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, embed_dim, kernel_size=1),
        )

    def forward(
        self, point_coords: Tensor, point_labels: Tensor, mask_input: Tensor, has_mask_input: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode B prompts.

        Args:
            point_coords: (B, N, 2) xy pixels of the padded S x S input.
            point_labels: (B, N) 1 foreground, 0 background, 2/3 box corners, -1 padding.
            mask_input: (B, 1, S/4, S/4) low-res logits, ignored where ``has_mask_input`` is 0.
            has_mask_input: (B,) 1 or 0.

        Returns:
            Sparse tokens (B, N, C) and dense map (B, C, S/16, S/16).
        """
        return (
            self.embed_points(point_coords, point_labels),
            self.embed_mask(mask_input, has_mask_input),
        )

    def embed_points(self, point_coords: Tensor, point_labels: Tensor) -> Tensor:
        """Encode (B, N, 2) points with (B, N) labels as (B, N, C) tokens."""
        labels = point_labels.unsqueeze(-1)
        position = self.position((point_coords + 0.5) / self.image_size)
        tokens: Tensor = (labels >= 0).to(position.dtype) * position
        for label in range(4):
            selected = (labels == label).to(position.dtype)
            tokens = tokens + selected * self.label_embeddings[label]
        return tokens + (labels == PADDING).to(position.dtype) * self.padding_embedding

    def embed_mask(self, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
        """Encode (B, 1, S/4, S/4) logits as (B, C, S/16, S/16); "no mask" where has is 0."""
        has = has_mask_input.view(-1, 1, 1, 1)
        dense: Tensor = self.mask_downscaling(mask_input)
        return has * dense + (1.0 - has) * self.no_mask_embedding[:, :, None, None]

    def dense_position(self) -> Tensor:
        """Positional encoding of the embedding's grid, (1, C, S/16, S/16)."""
        encoded: Tensor = self.grid()
        return encoded
