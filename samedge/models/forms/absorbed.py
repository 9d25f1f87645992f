"""Cross attention between a few tokens and many positions, from half the arithmetic.

A prompt has about seven tokens, the image 4,096 positions. SAM's cross attention projects every
position to keys, values or queries of 128 channels, only to multiply them with those few tokens.
Projecting the tokens instead is exact, because a product of matrices may be bracketed either way::

    (x W_k) q = x (W_k q)        softmax(s) (x W_v) W_o = (softmax(s) x) W_v W_o

so that 4,096 x 256 x 128 products become 4,096 x 256 x (tokens x heads). A key's bias shifts all
scores of a query alike and leaves the softmax as it is, so it is left out.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from samedge.models.mask_decoder import Attention, TwoWayLayer


class HeadProjections(nn.Module):
    """The projections of one attention, divided by head once and for all.

    Shapes: ``q_weight``, ``k_weight``, ``v_weight`` (H, C, d); ``out_weight`` (H, d, C); biases
    (H, 1, d) and (C,). The scores' scale is part of the queries.

    Args:
        attention: where the weights come from; it stays as it is.

    Attributes:
        narrow: ``q`` or ``k``: the projection whose result is a tensor of the graph. The other
            one has been absorbed: its weight multiplies that tensor.
    """

    narrow: ClassVar[str]

    q_weight: Tensor
    q_bias: Tensor
    k_weight: Tensor
    k_bias: Tensor
    v_weight: Tensor
    v_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.head_dim = attention.heads, attention.head_dim
        self._divide("q", attention.q_proj, 1.0 / math.sqrt(attention.head_dim))
        self._divide("k", attention.k_proj, 1.0)
        self._divide("v", attention.v_proj, 1.0)
        out = attention.out_proj.weight.detach().t().reshape(self.heads, self.head_dim, -1)
        self.register_buffer("out_weight", out.contiguous())
        self.register_buffer("out_bias", attention.out_proj.bias.detach().clone())

    def _divide(self, name: str, layer: nn.Linear, factor: float) -> None:
        weight = layer.weight.detach().view(self.heads, self.head_dim, -1) * factor
        bias = layer.bias.detach().view(self.heads, 1, self.head_dim) * factor
        self.register_buffer(f"{name}_weight", weight.transpose(1, 2).contiguous())
        self.register_buffer(f"{name}_bias", bias)

    def projected(self, tokens: Tensor) -> Tensor:
        """(B, T, C) tokens to the (B, H, T, d) tensor that the absorbed projection multiplies."""
        weight, bias = getattr(self, f"{self.narrow}_weight"), getattr(self, f"{self.narrow}_bias")
        result: Tensor = tokens.unsqueeze(1) @ weight + bias
        return result

    def flip(self, signs: Tensor) -> None:
        """Turn channels of queries and keys around, both: every score stays what it was.

        Args:
            signs: (H, d) of 1 and -1.
        """
        for name in ("q_weight", "q_bias", "k_weight", "k_bias"):
            getattr(self, name).mul_(signs.unsqueeze(1))


class TokensReadImage(HeadProjections):
    """Cross attention from few tokens to many positions."""

    narrow = "q"

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from (B, T, C) tokens to (B, P, C) positions; (B, T, C)."""
        batch, count, channels = tokens.shape
        queries = self.projected(tokens) @ self.k_weight.transpose(1, 2)  # (B, H, T, C)
        queries = queries.reshape(batch, self.heads * count, channels)
        # Positions first: OpenVINO would fuse the usual order into one kernel that runs serially.
        attention = torch.softmax(keys @ queries.transpose(1, 2), dim=1)
        mixed = (attention.transpose(1, 2) @ values).view(batch, self.heads, count, channels)
        out = (mixed @ self.v_weight + self.v_bias) @ self.out_weight
        return out.sum(dim=1) + self.out_bias


class ImageReadsTokens(HeadProjections):
    """Cross attention from many positions to few tokens."""

    narrow = "k"

    def forward(self, image: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Attend from (B, P, C) positions to (B, T, C) tokens; (B, P, C).

        Args:
            image: the positions.
            keys: the tokens as keys.
            values: the tokens as values.
            bias: (B, T) added to the scores.
        """
        batch, count, channels = keys.shape
        positions = image.shape[1]
        projected = self.projected(keys)  # (B, H, T, d)
        queries = (projected @ self.q_weight.transpose(1, 2)).reshape(batch, -1, channels)
        offset = (projected * self.q_bias).sum(-1, keepdim=True) + bias[:, None, :, None]
        # A head's weights sum to one, so each value may carry a head's share of the output's bias.
        carried = values.unsqueeze(1) @ self.v_weight + self.v_bias
        carried = carried @ self.out_weight + self.out_bias / self.heads  # (B, H, T, C)
        scores = (queries @ image.transpose(1, 2)).view(batch, self.heads, count, positions)
        attention = torch.softmax(scores + offset, dim=2).view(batch, -1, positions)
        return attention.transpose(1, 2) @ carried.reshape(batch, self.heads * count, channels)


class AbsorbedLayer(nn.Module):
    """A two-way layer with absorbed cross attention.

    Args:
        layer: where the weights come from; it stays as it is.
    """

    def __init__(self, layer: TwoWayLayer) -> None:
        super().__init__()
        self.is_first = layer.is_first
        self.self_attn, self.mlp = layer.self_attn, layer.mlp
        self.norm1, self.norm2 = layer.norm1, layer.norm2
        self.norm3, self.norm4 = layer.norm3, layer.norm4
        self.token_to_image = TokensReadImage(layer.token_to_image)
        self.image_to_token = ImageReadsTokens(layer.image_to_token)

    def forward(
        self, tokens: Tensor, image: Tensor, *, token_pe: Tensor, image_pe: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update tokens and image; arguments as of ``TwoWayLayer.forward``."""
        if self.is_first:
            tokens = self.self_attn(tokens, tokens, tokens, key_bias=bias)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens, key_bias=bias)
        tokens = self.norm1(tokens)
        keys = image + image_pe
        tokens = self.norm2(tokens + self.token_to_image(tokens + token_pe, keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        update = self.image_to_token(keys, tokens + token_pe, tokens, bias)
        return tokens, self.norm4(image + update)
