"""Several stages of a backbone to one embedding at stride 16.

The embedding's 16 x 16 pixel cells must still say where in the cell an edge runs, because the
decoder sees nothing else. So the finer stages are folded into the channels by patchify
convolutions (space to depth and a projection in one) instead of being pooled away.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.layers import LayerNorm2d

_STRIDE = 16


class ResidualBlock(nn.Module):
    """Depthwise 5x5 and two 1x1 convolutions around a shortcut; batch norms fold at export."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, kernel_size=5, padding=2, groups=channels, bias=False
        )
        self.norm1 = nn.BatchNorm2d(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, kernel_size=1)
        self.project = nn.Conv2d(2 * channels, channels, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        inner = torch.relu(self.expand(self.norm1(self.depthwise(x))))
        out: Tensor = x + self.norm2(self.project(inner))
        return out


class FusionNeck(nn.Module):
    """Stages of several strides to one embedding at stride 16.

    Args:
        channels: channels of each stage, by its stride.
        embed_dim: channels of the embedding.
        blocks: residual blocks after the fusion.
        norm: ``"layer"`` or ``"batch"``.
    """

    def __init__(self, channels: dict[int, int], embed_dim: int, *, blocks: int, norm: str) -> None:
        super().__init__()
        self.strides = tuple(sorted(channels))
        self.paths = nn.ModuleDict(
            {str(stride): _path(channels[stride], stride, embed_dim) for stride in self.strides}
        )
        self.body = nn.Sequential(*(ResidualBlock(embed_dim) for _ in range(blocks)))
        self.norm = LayerNorm2d(embed_dim) if norm == "layer" else nn.BatchNorm2d(embed_dim)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Fuse stages, finest first, to (B, embed_dim, S/16, S/16)."""
        fused = self._lateral(self.strides[0], stages[0])
        for stride, stage in zip(self.strides[1:], stages[1:], strict=True):
            fused = fused + self._lateral(stride, stage)
        out: Tensor = self.norm(self.body(torch.relu(fused)))
        return out

    def _lateral(self, stride: int, stage: Tensor) -> Tensor:
        x: Tensor = self.paths[str(stride)](stage)
        if stride > _STRIDE:
            x = F.interpolate(x, scale_factor=float(stride // _STRIDE), mode="nearest")
        return x


def _path(channels: int, stride: int, embed_dim: int) -> nn.Sequential:
    """Lateral 1x1 convolution of one stage, and its folding to stride 16 where it is finer."""
    fold = max(_STRIDE // stride, 1)
    width = embed_dim if fold == 1 else embed_dim // (2 * fold)
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, kernel_size=1, bias=False),
        nn.BatchNorm2d(width),
    ]
    if fold > 1:
        layers += [
            nn.ReLU(),
            nn.Conv2d(width, embed_dim, kernel_size=fold, stride=fold, bias=False),
            nn.BatchNorm2d(embed_dim),
        ]
    return nn.Sequential(*layers)
