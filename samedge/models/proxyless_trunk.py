"""The trunk of ProxylessNAS at width 0.3, and ImageNet weights for it.

Source: Cai et al., "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware",
2019 (arXiv:1812.00332); this network is the one of mit-han-lab/proxylessnas that its authors name
``proxyless-w0.3-r176_imagenet``. Its classifier and the 1x1 convolution before it are left out.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from samedge.errors import CheckpointError
from samedge.models.checkpoint_files import read_safetensors
from samedge.models.layers import Normalize

_EPS = 1e-3
_FIRST = 16
# kernel, stride, expansion, channels; ``None`` is a block of the search that does nothing.
_BLOCKS: tuple[tuple[int, int, int, int] | None, ...] = (
    (3, 1, 1, 8),
    (5, 2, 3, 16),
    (3, 1, 3, 16),
    None,
    None,
    (7, 2, 3, 16),
    (3, 1, 3, 16),
    (5, 1, 3, 16),
    (5, 1, 3, 16),
    (7, 2, 6, 24),
    (5, 1, 3, 24),
    (5, 1, 3, 24),
    (5, 1, 3, 24),
    (5, 1, 6, 32),
    (5, 1, 3, 32),
    (5, 1, 3, 32),
    (5, 1, 3, 32),
    (7, 2, 6, 64),
    (7, 1, 6, 64),
    (7, 1, 3, 64),
    (7, 1, 3, 64),
    (7, 1, 6, 96),
)
STAGE_ENDS = {0: 2, 2: 4, 8: 8, 16: 16, 21: 32}
"""Last block of each stage, and its stride."""

CHANNELS = {stride: _BLOCKS[index][3] for index, stride in STAGE_ENDS.items()}  # type: ignore[index]
"""Channels of each stage, by its stride."""


class ConvNorm(nn.Module):
    """Convolution, batch norm and perhaps ReLU6."""

    def __init__(
        self, channels: tuple[int, int], kernel: int, *, stride: int, groups: int, act: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            *channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(channels[1], eps=_EPS)
        self.act = nn.ReLU6() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class InvertedBlock(nn.Module):
    """Expand, filter each channel, project; a shortcut where the shape stays."""

    def __init__(
        self, channels: tuple[int, int], kernel: int, *, stride: int, expansion: int
    ) -> None:
        super().__init__()
        entered, left = channels
        width = entered * expansion
        self.inverted_bottleneck = (
            ConvNorm((entered, width), 1, stride=1, groups=1, act=True)
            if expansion > 1
            else nn.Identity()
        )
        self.depth_conv = ConvNorm((width, width), kernel, stride=stride, groups=width, act=True)
        self.point_linear = ConvNorm((width, left), 1, stride=1, groups=1, act=False)
        self.has_shortcut = stride == 1 and entered == left

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        y: Tensor = self.point_linear(self.depth_conv(self.inverted_bottleneck(x)))
        return x + y if self.has_shortcut else y


class ProxylessTrunk(nn.Module):
    """The network up to stride 32, as its stages."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = ConvNorm((3, _FIRST), 3, stride=2, groups=1, act=True)
        blocks: dict[str, nn.Module] = {}
        channels = _FIRST
        for index, block in enumerate(_BLOCKS):
            if block is not None:
                kernel, stride, expansion, left = block
                blocks[str(index)] = InvertedBlock(
                    (channels, left), kernel, stride=stride, expansion=expansion
                )
                channels = left
        self.blocks = nn.ModuleDict(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, S, S) to the stages at strides 2, 4, 8, 16 and 32."""
        stages = []
        x = self.first_conv(x)
        for index, block in self.blocks.items():
            x = block(x)
            if int(index) in STAGE_ENDS:
                stages.append(x)
        return stages


def load_trunk(trunk: ProxylessTrunk, path: Path) -> None:
    """Load the authors' ImageNet weights.

    They were trained on pixels scaled to -1..1; the change to :class:`Normalize`'s input is folded
    into the first convolution and its batch norm, exactly except where that convolution sees
    padding.

    Args:
        trunk: the network; changed in place.
        path: safetensors file with the authors' names.

    Raises:
        CheckpointError: the file cannot be read, or tensors are missing or have another shape.
    """
    loaded = {
        name.replace(".mobile_inverted_conv.", "."): tensor
        for name, tensor in read_safetensors(path)[0].items()
    }
    own = trunk.state_dict()
    wrong = [n for n, t in own.items() if n not in loaded or loaded[n].shape != t.shape]
    if wrong:
        raise CheckpointError(
            f"{path} does not fit ProxylessNAS 0.3: {len(wrong)} tensors are missing or of "
            f"another shape ({', '.join(wrong[:6])}). Expected the authors' own names."
        )
    state = {name: loaded[name] for name in own}
    ours, weight = Normalize(), state["first_conv.conv.weight"].float()
    shift = (ours.mean - 127.5) / 127.5
    state["first_conv.bn.running_mean"] = state["first_conv.bn.running_mean"] - (
        weight * shift
    ).sum((1, 2, 3))
    state["first_conv.conv.weight"] = weight * (ours.std / 127.5)
    with torch.no_grad():
        trunk.load_state_dict(state)
