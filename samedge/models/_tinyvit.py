"""MobileSAM's image encoder: TinyViT-5M that stays at stride 16, and SAM's neck.

Sources: Wu et al., "TinyViT", 2022 (arXiv:2207.10666); Zhang et al., "Faster Segment Anything"
(MobileSAM), 2023 (arXiv:2306.14289).

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


@dataclasses.dataclass(frozen=True)
class TinyViTConfig:
    """What to build; the defaults are MobileSAM's.

    Attributes:
        image_size: side S of the input, in pixels; a multiple of 16.
        widths: channels of the four stages.
        depths: blocks of the four stages.
        heads: attention heads of the four stages; the first has none to use.
        windows: sides of the windows, in cells of the stage's grid.
        embed_dim: channels of the image embedding.
    """

    image_size: int = 1024
    widths: tuple[int, int, int, int] = (64, 128, 160, 320)
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int, int] = (2, 4, 5, 10)
    windows: tuple[int, int, int, int] = (7, 7, 14, 7)
    embed_dim: int = 256

    @property
    def grids(self) -> tuple[int, int, int, int]:
        """Sides of the stages' grids; the last stage does not shrink its input."""
        size = self.image_size
        return size // 4, size // 8, size // 16, size // 16


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm."""

    def __init__(
        self, channels: int, out_channels: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels,
            out_channels,
            kernel_size=kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(out_channels)


class MBConv(nn.Module):
    """Inverted bottleneck with a shortcut, and an activation after it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = 4 * channels
        self.conv1 = ConvNorm(channels, inner)
        self.conv2 = ConvNorm(inner, inner, kernel=3, groups=inner)
        self.conv3 = ConvNorm(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        inner = F.gelu(self.conv2(F.gelu(self.conv1(x))))
        return F.gelu(x + self.conv3(inner))


class PatchMerging(nn.Module):
    """From one stage to the next: other channels, and half the resolution if ``stride`` is 2."""

    def __init__(self, channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, out_channels)
        self.conv2 = ConvNorm(
            out_channels, out_channels, kernel=3, stride=stride, groups=out_channels
        )
        self.conv3 = ConvNorm(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride)."""
        out: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return out


class OffsetBias(Constant):
    """One learned bias for every head and absolute offset between two cells of a window.

    Args:
        heads: attention heads.
        window: side of the window.
    """

    index: Tensor

    def __init__(self, heads: int, window: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(heads, window * window))
        cell = torch.arange(window * window)
        row, column = cell // window, cell % window
        down = (row[:, None] - row[None, :]).abs()
        across = (column[:, None] - column[None, :]).abs()
        self.register_buffer("index", (down * window + across).reshape(-1), persistent=False)
        self.cells = window * window

    def compute(self) -> Tensor:
        """Bias (1, heads, window * window, window * window) of every pair of cells."""
        return self.weight.index_select(1, self.index).view(1, -1, self.cells, self.cells)


class WindowAttention(nn.Module):
    """Self-attention inside windows, with a bias for each offset."""

    def __init__(self, channels: int, heads: int, *, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.head_dim = channels // heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.bias = OffsetBias(heads, window)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, window, window, C) to the same shape."""
        cells, channels = self.window * self.window, self.heads * self.head_dim
        qkv = self.qkv(self.norm(x)).reshape(-1, cells, self.heads, 3 * self.head_dim)
        q, k, v = qkv.transpose(1, 2).split(self.head_dim, dim=3)
        scores = (q * (1.0 / math.sqrt(self.head_dim))) @ k.transpose(2, 3) + self.bias()
        mixed = (torch.softmax(scores, dim=-1) @ v).transpose(1, 2)
        out: Tensor = self.proj(mixed.reshape(-1, self.window, self.window, channels))
        return out


class Block(GridBlock):
    """Window attention, a depthwise convolution, and an MLP."""

    def __init__(self, channels: int, heads: int, *, window: int, grid: int) -> None:
        super().__init__(grid)
        self.window = window
        self.attn = WindowAttention(channels, heads, window=window)
        self.local_conv = ConvNorm(channels, channels, kernel=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, grid, grid) to the same shape."""
        stream = self.stream(x.permute(0, 2, 3, 1))
        windows = self.attn(to_windows(self.cells(stream), self.window, self.grid))
        stream = stream + self.stream(from_windows(windows, self.window, self.grid))
        convolved = self.local_conv(self.cells(stream).permute(0, 3, 1, 2))
        stream = self.stream(convolved.permute(0, 2, 3, 1))
        stream = stream + self.fc2(F.gelu(self.fc1(self.norm(stream))))
        out: Tensor = self.cells(stream).permute(0, 3, 1, 2)
        return out


class TinyViTEncoder(nn.Module):
    """MobileSAM's TinyViT and its neck.

    Args:
        config: what to build.
    """

    def __init__(self, config: TinyViTConfig) -> None:
        super().__init__()
        self.config = config
        self.stem1 = ConvNorm(3, config.widths[0] // 2, kernel=3, stride=2)
        self.stem2 = ConvNorm(config.widths[0] // 2, config.widths[0], kernel=3, stride=2)
        self.stages = nn.ModuleList(_stage(config, index) for index in range(4))
        self.merges = nn.ModuleList(
            PatchMerging(config.widths[i], config.widths[i + 1], stride=1 if i == 2 else 2)
            for i in range(3)
        )
        self.neck = sam_neck(config.widths[3], config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised (B, 3, S, S) to (B, embed_dim, S/16, S/16)."""
        x = self.stages[0](self.stem2(F.gelu(self.stem1(x))))
        for merge, stage in zip(self.merges, list(self.stages)[1:], strict=True):
            x = stage(merge(x))
        out: Tensor = self.neck(x)
        return out


def _stage(config: TinyViTConfig, index: int) -> nn.Sequential:
    if index == 0:
        return nn.Sequential(*(MBConv(config.widths[0]) for _ in range(config.depths[0])))
    return nn.Sequential(
        *(
            Block(
                config.widths[index],
                config.heads[index],
                window=config.windows[index],
                grid=config.grids[index],
            )
            for _ in range(config.depths[index])
        )
    )


class _TinyViT(Encoder[TinyViTConfig]):
    name = "tinyvit"
    config_type = TinyViTConfig

    def build(self, config: TinyViTConfig) -> nn.Module:
        return TinyViTEncoder(config)

    def tiny(self, *, image_size: int, embed_dim: int) -> TinyViTConfig:
        return TinyViTConfig(
            image_size,
            widths=(8, 16, 20, 32),
            depths=(1, 1, 1, 1),
            heads=(1, 2, 2, 4),
            windows=(7, 7, 5, 3),
            embed_dim=embed_dim,
        )


ENCODER = _TinyViT()
