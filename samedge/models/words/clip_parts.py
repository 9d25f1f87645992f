"""CLIP's transformers: the image tower on patches, and the text tower.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
2021 (arXiv:2103.00020). Parameters have open_clip's names. No tensor has more than four axes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Callable[[Tensor], Tensor]


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI's approximation of GELU, which its weights were trained with."""
    return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Self-attention with the parameters of ``nn.MultiheadAttention``.

    Args:
        width: channels.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map (B, L, C) to the same shape; ``mask`` (L, L) is added to the scores."""
        q, k, v = (
            self._by_head(part)
            for part in F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        )
        scores = (q * self.head_dim**-0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        mixed = (torch.softmax(scores, dim=-1) @ v).transpose(1, 2)
        out: Tensor = self.out_proj(mixed.reshape(x.shape))
        return out

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[1], self.heads, self.head_dim).transpose(1, 2)


class Mlp(nn.Module):
    """Two layers with an activation between them.

    Args:
        width: channels.
        hidden: channels between.
        activation: between.
    """

    def __init__(self, width: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, C) to the same shape."""
        out: Tensor = self.c_proj(self.activation(self.c_fc(x)))
        return out


class Block(nn.Module):
    """A pre-norm transformer block; the arguments are its parts'."""

    def __init__(self, width: int, heads: int, *, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width, hidden, activation)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map (B, L, C) to the same shape."""
        x = x + self.attn(self.ln_1(x), mask)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    """A stack of blocks; the arguments are its parts'."""

    def __init__(
        self, width: int, layers: int, *, heads: int, hidden: int, activation: Activation
    ) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            Block(width, heads, hidden=hidden, activation=activation) for _ in range(layers)
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, L, C) to the same shape."""
        for block in self.resblocks:
            x = block(x, mask)
        return x


class VisionTransformer(nn.Module):
    """The image tower on patches.

    Args:
        side: of the image, pixels.
        patch: side of a patch.
        width: channels.
        layers: blocks.
        heads: of the attention.
        hidden: channels inside of the MLPs.
        embed_dim: numbers of an embedding.
        activation: of the MLPs.
    """

    def __init__(
        self,
        *,
        side: int,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        embed_dim: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros((side // patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(
            width, layers, heads=heads, hidden=hidden, activation=activation
        )
        self.proj = nn.Parameter(torch.zeros(width, embed_dim))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised (B, 3, S, S) to (B, D)."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        x = torch.cat([first, patches], dim=1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x))
        out: Tensor = self.ln_post(x[:, 0]) @ self.proj
        return out


class TextTower(nn.Module):
    """The text tower; a text's embedding is that of its last mark.

    Args:
        vocabulary: number of ids; the last mark has the highest.
        context: ids of a text.
        width: channels.
        layers: blocks.
        heads: of the attention.
        hidden: channels inside of the MLPs.
        embed_dim: numbers of an embedding.
        activation: of the MLPs.
        is_causal: whether a token sees only those before it.
    """

    mask: Tensor | None

    def __init__(
        self,
        *,
        vocabulary: int,
        context: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        embed_dim: int,
        activation: Activation,
        is_causal: bool,
    ) -> None:
        super().__init__()
        self.end = vocabulary - 1
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.zeros(context, width))
        self.transformer = Transformer(
            width, layers, heads=heads, hidden=hidden, activation=activation
        )
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, embed_dim))
        # Finite, because half precision and quantizers meet infinity badly.
        later = torch.full((context, context), -1e4).triu(1) if is_causal else None
        self.register_buffer("mask", later, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, 77) ids to (B, D)."""
        x = self.token_embedding(tokens) + self.positional_embedding
        x = self.ln_final(self.transformer(x, self.mask))
        # Without an index that depends on data, which accelerators cannot follow.
        is_end = (tokens == self.end).to(x.dtype)
        first = is_end * (is_end.cumsum(1) <= 1.0).to(x.dtype)
        out: Tensor = (x * first[..., None]).sum(1) @ self.text_projection
        return out
