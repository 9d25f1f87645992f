"""SAM's two-way mask decoder.

Source: Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643), appendix A.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from samedge.models.layers import MLP, LayerNorm2d


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than the embedding's.

    Args:
        dim: channels of queries, keys, values and output.
        heads: number of heads.
        inner_dim: channels of the projections.
    """

    def __init__(self, dim: int, heads: int, *, inner_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = inner_dim // heads
        self.q_proj = nn.Linear(dim, inner_dim)
        self.k_proj = nn.Linear(dim, inner_dim)
        self.v_proj = nn.Linear(dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, self.heads, self.head_dim).transpose(1, 2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, key_bias: Tensor | None = None) -> Tensor:
        """Attend from (B, Tq, C) to (B, Tk, C).

        Args:
            q: queries.
            k: keys.
            v: values.
            key_bias: (B, Tk) added to every score of a key, or ``None``.
        """
        q = self._split(self.q_proj(q))
        k, v = self._split(self.k_proj(k)), self._split(self.v_proj(v))
        scores = (q @ k.transpose(2, 3)) * (1.0 / math.sqrt(self.head_dim))
        if key_bias is not None:
            scores = scores + key_bias[:, None, None, :]
        mixed = (torch.softmax(scores, dim=-1) @ v).transpose(1, 2)
        out: Tensor = self.out_proj(mixed.reshape(mixed.shape[0], -1, self.heads * self.head_dim))
        return out


class TwoWayLayer(nn.Module):
    """Tokens attend to themselves and to the image, then the image attends to the tokens."""

    def __init__(
        self, dim: int, heads: int, *, mlp_dim: int, cross_dim: int, is_first: bool
    ) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(dim, heads, inner_dim=dim)
        self.norm1 = nn.LayerNorm(dim)
        self.token_to_image = Attention(dim, heads, inner_dim=cross_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_dim, dim)
        self.norm3 = nn.LayerNorm(dim)
        self.image_to_token = Attention(dim, heads, inner_dim=cross_dim)
        self.norm4 = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, image: Tensor, *, token_pe: Tensor, image_pe: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update (B, T, C) tokens and (B, P, C) image.

        Args:
            tokens: output tokens and prompt tokens.
            image: the image embedding, flattened.
            token_pe: the prompt tokens as they entered, added to queries and keys.
            image_pe: (1, P, C) positional encoding.
            bias: (B, T) attention bias of the tokens as keys.
        """
        if self.is_first:
            tokens = self.self_attn(tokens, tokens, tokens, key_bias=bias)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens, key_bias=bias)
        tokens = self.norm1(tokens)
        keys = image + image_pe
        tokens = self.norm2(tokens + self.token_to_image(tokens + token_pe, keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        update = self.image_to_token(keys, tokens + token_pe, tokens, key_bias=bias)
        return tokens, self.norm4(image + update)


class TwoWayTransformer(nn.Module):
    """A few two-way layers and a last attention from the tokens to the image."""

    def __init__(
        self, dim: int = 256, *, depth: int = 2, heads: int = 8, mlp_dim: int = 2048
    ) -> None:
        super().__init__()
        cross_dim = dim // 2
        self.layers = nn.ModuleList(
            TwoWayLayer(dim, heads, mlp_dim=mlp_dim, cross_dim=cross_dim, is_first=index == 0)
            for index in range(depth)
        )
        self.final_token_to_image = Attention(dim, heads, inner_dim=cross_dim)
        self.norm_final = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, image: Tensor, *, image_pe: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the updated (B, T, C) tokens and (B, P, C) image."""
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe=token_pe, image_pe=image_pe, bias=bias)
        update = self.final_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final(tokens + update), image


class MaskDecoder(nn.Module):
    """Image embedding and prompt tokens to four masks and their estimated IoU.

    Mask 0 is for prompts that leave no doubt, masks 1 to 3 compete on an ambiguous one.

    Args:
        dim: channels of the image embedding.
        depth: two-way layers.
        heads: attention heads.
        mlp_dim: hidden width of the transformer's MLPs.
    """

    num_masks = 4

    def __init__(
        self, dim: int = 256, *, depth: int = 2, heads: int = 8, mlp_dim: int = 2048
    ) -> None:
        super().__init__()
        self.output_tokens = nn.Parameter(torch.randn(1 + self.num_masks, dim))
        self.transformer = TwoWayTransformer(dim, depth=depth, heads=heads, mlp_dim=mlp_dim)
        self.upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.hypernetworks = nn.ModuleList(
            MLP(dim, dim, dim, dim // 8) for _ in range(self.num_masks)
        )
        self.iou_head = MLP(dim, dim, dim, self.num_masks)

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor, token_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts on one image.

        Args:
            image: (B, C, h, w) image embedding plus the prompts' dense maps.
            image_pe: (1, C, h, w) positional encoding of the grid.
            tokens: (B, N, C) sparse prompt tokens.
            token_bias: (B, N) attention bias of the prompt tokens as keys.

        Returns:
            Low-res logits (B, 4, 4h, 4w) and IoU predictions (B, 4).
        """
        height, width = image.shape[2:]
        output = self.output_tokens.unsqueeze(0).expand(tokens.shape[0], -1, -1)
        bias = nn.functional.pad(token_bias, (1 + self.num_masks, 0))
        out, flat = self.transformer(
            torch.cat([output, tokens], dim=1),
            image.flatten(2).transpose(1, 2),
            image_pe=image_pe.flatten(2).transpose(1, 2),
            bias=bias,
        )
        grid = flat.transpose(1, 2).reshape(flat.shape[0], flat.shape[2], height, width)
        return self._masks(out, self.upscaling(grid)), self.iou_head(out[:, 0])

    def _masks(self, tokens: Tensor, upscaled: Tensor) -> Tensor:
        weights = [mlp(tokens[:, 1 + index]) for index, mlp in enumerate(self.hypernetworks)]
        batch, channels, height, width = upscaled.shape
        logits = torch.stack(weights, dim=1) @ upscaled.view(batch, channels, height * width)
        return logits.view(batch, self.num_masks, height, width)
