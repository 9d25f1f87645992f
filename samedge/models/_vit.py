"""SAM's own image encoder: a plain ViT with windowed and global attention.

Sources: Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643); Li et al., "Exploring Plain
Vision Transformer Backbones for Object Detection", 2022 (arXiv:2203.16527); the decomposed relative
positions are Li et al., "MViTv2", 2022 (arXiv:2112.01526), equation 4.

No tensor has more than four axes, and every shape but the batch is a constant.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.base import Encoder
from samedge.models.layers import sam_neck
from samedge.models.windows import Constant, GridBlock, from_windows, to_windows

_PATCH = 16
_EPS = 1e-6


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """What to build; the defaults are ViT-B.

    Attributes:
        image_size: side S of the input, in pixels; a multiple of 16.
        width: channels of the transformer.
        depth: number of blocks.
        heads: attention heads.
        global_blocks: indices of the blocks whose attention sees the whole image.
        window: side of the other blocks' windows, in patches.
        embed_dim: channels of the image embedding.
        mlp_dim: hidden width of the blocks' MLPs.
    """

    image_size: int = 1024
    width: int = 768
    depth: int = 12
    heads: int = 12
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    window: int = 14
    embed_dim: int = 256
    mlp_dim: int = 3072

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // _PATCH


class RelativeTable(Constant):
    """Embeddings of the distances between two positions on one axis.

    Args:
        size: positions on the axis.
        head_dim: channels of one head.
    """

    index: Tensor

    def __init__(self, size: int, head_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2 * size - 1, head_dim))
        position = torch.arange(size)
        distance = position[:, None] - position[None, :] + size - 1
        self.register_buffer("index", distance.reshape(-1), persistent=False)
        self.size = size

    def compute(self) -> Tensor:
        """Table (size, head_dim, size): for each query position, what its channels meet."""
        table = self.weight.index_select(0, self.index).view(self.size, self.size, -1)
        return table.transpose(1, 2)


class Attention(nn.Module):
    """Self-attention over a square of ``size`` x ``size`` patches with relative positions."""

    def __init__(self, width: int, heads: int, *, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.head_dim = width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_h = RelativeTable(size, self.head_dim)
        self.rel_w = RelativeTable(size, self.head_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, size, size, C) to the same shape."""
        positions, channels = self.size * self.size, self.heads * self.head_dim
        qkv = self.qkv(x).reshape(-1, positions, 3 * self.heads, self.head_dim).transpose(1, 2)
        q, k, v = (
            part.reshape(-1, positions, self.head_dim) for part in qkv.split(self.heads, dim=1)
        )
        scores = (q * (1.0 / math.sqrt(self.head_dim))) @ k.transpose(1, 2)
        mixed = torch.softmax(self._add_positions(scores, q), dim=-1) @ v
        mixed = mixed.view(-1, self.heads, positions, self.head_dim).transpose(1, 2)
        out: Tensor = self.proj(mixed.reshape(-1, self.size, self.size, channels))
        return out

    def _add_positions(self, scores: Tensor, q: Tensor) -> Tensor:
        """Add to (B * heads, P, P) scores what each query says of its row and column distances."""
        size, positions = self.size, self.size * self.size
        grid = q.view(-1, size, size, self.head_dim)
        by_row = (grid @ self.rel_h()).view(-1, positions, size, 1)
        by_column = (grid.transpose(1, 2) @ self.rel_w()).transpose(1, 2)
        by_column = by_column.reshape(-1, positions, 1, size)
        summed: Tensor = scores.view(-1, positions, size, size) + by_row + by_column
        return summed.view(-1, positions, positions)


class Block(GridBlock):
    """Pre-norm transformer block; attention in windows, or over the whole grid if window is 0."""

    def __init__(self, config: ViTConfig, *, window: int) -> None:
        super().__init__(config.grid)
        self.window = window
        self.norm1 = nn.LayerNorm(config.width, eps=_EPS)
        self.attn = Attention(config.width, config.heads, size=window or config.grid)
        self.norm2 = nn.LayerNorm(config.width, eps=_EPS)
        self.lin1 = nn.Linear(config.width, config.mlp_dim)
        self.lin2 = nn.Linear(config.mlp_dim, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, grid, grid, C) to the same shape."""
        stream = self.stream(x)
        inner = self.cells(self.norm1(stream))
        if self.window:
            windows = self.attn(to_windows(inner, self.window, self.grid))
            attended = from_windows(windows, self.window, self.grid)
        else:
            attended = self.attn(inner)
        stream = stream + self.stream(attended)
        return self.cells(stream + self.lin2(F.gelu(self.lin1(self.norm2(stream)))))


class ViTEncoder(nn.Module):
    """SAM's ViT and its neck.

    Args:
        config: what to build.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Conv2d(3, config.width, kernel_size=_PATCH, stride=_PATCH)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid, config.grid, config.width))
        self.blocks = nn.ModuleList(
            Block(config, window=0 if index in config.global_blocks else config.window)
            for index in range(config.depth)
        )
        self.neck = sam_neck(config.width, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised (B, 3, S, S) to (B, embed_dim, S/16, S/16)."""
        x = self.patch_embed(x).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out


class _ViT(Encoder[ViTConfig]):
    name = "vit"
    config_type = ViTConfig

    def build(self, config: ViTConfig) -> nn.Module:
        return ViTEncoder(config)

    def tiny(self, *, image_size: int, embed_dim: int) -> ViTConfig:
        return ViTConfig(
            image_size,
            width=16,
            depth=2,
            heads=2,
            global_blocks=(1,),
            window=3,
            embed_dim=embed_dim,
            mlp_dim=16,
        )


ENCODER = _ViT()
