"""CLIP's residual image tower: a deep stem, pooling before strides, attention at the end.

Source: Radford et al., 2021, section 2.4. Parameters have open_clip's names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EXPANSION = 4


class Bottleneck(nn.Module):
    """A residual block whose stride is an average pool.

    Args:
        entering: channels.
        planes: channels inside; four times as many leave.
        stride: 1 or 2.
    """

    def __init__(self, entering: int, planes: int, *, stride: int = 1) -> None:
        super().__init__()
        leaving = planes * _EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(entering, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3, self.bn3 = nn.Conv2d(planes, leaving, 1, bias=False), nn.BatchNorm2d(leaving)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or entering != leaving:
            layers = OrderedDict[str, nn.Module]()
            layers["-1"] = nn.AvgPool2d(stride)
            layers["0"] = nn.Conv2d(entering, leaving, 1, bias=False)
            layers["1"] = nn.BatchNorm2d(leaving)
            self.downsample = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, entering, H, W) to (B, 4 planes, H / stride, W / stride)."""
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(self.avgpool(out)))
        return torch.relu(out + self.downsample(x))


class AttentionPool(nn.Module):
    """One query, the mean of the map, attends to the map.

    Args:
        side: of the map.
        width: its channels.
        heads: of the attention.
        embed_dim: numbers of an embedding.
    """

    def __init__(self, side: int, width: int, *, heads: int, embed_dim: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(side**2 + 1, width))
        self.k_proj, self.q_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.c_proj = nn.Linear(width, width), nn.Linear(width, embed_dim)
        self.heads, self.head_dim = heads, width // heads

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, D)."""
        grid = x.flatten(2).transpose(1, 2)
        mean = grid.mean(dim=1, keepdim=True)
        grid = torch.cat([mean, grid], dim=1) + self.positional_embedding
        q = self._by_head(self.q_proj(grid[:, :1])) * self.head_dim**-0.5
        k, v = self._by_head(self.k_proj(grid)), self._by_head(self.v_proj(grid))
        mixed = torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v
        out: Tensor = self.c_proj(mixed.transpose(1, 2).flatten(1))
        return out

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[1], self.heads, self.head_dim).transpose(1, 2)


class ModifiedResNet(nn.Module):
    """The image tower.

    Args:
        side: of the image, pixels.
        width: channels after the stem.
        layers: blocks a stage.
        heads: of the pooling attention.
        embed_dim: numbers of an embedding.
    """

    def __init__(
        self, *, side: int, width: int, layers: Sequence[int], heads: int, embed_dim: int
    ) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(half), nn.BatchNorm2d(half)
        self.bn3 = nn.BatchNorm2d(width)
        entering = width
        for stage, blocks in enumerate(layers):
            planes = width * 2**stage
            first = Bottleneck(entering, planes, stride=1 if stage == 0 else 2)
            entering = planes * _EXPANSION
            rest = (Bottleneck(entering, planes) for _ in range(blocks - 1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))
        self.stages = len(layers)
        self.attnpool = AttentionPool(side // 32, entering, heads=heads, embed_dim=embed_dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised (B, 3, S, S) to (B, D)."""
        x = torch.relu(self.bn1(self.conv1(pixels)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(torch.relu(self.bn3(self.conv3(x))), 2)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        out: Tensor = self.attnpool(x)
        return out
