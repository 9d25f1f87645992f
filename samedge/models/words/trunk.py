"""MobileNetV2 without batch norms: convolutions with biases, as its file of weights has them.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, table 2.
Padding is TensorFlow's SAME, and parameters have torchvision's names, both as in that file.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_STEM = 32
_SETTINGS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and stride of each stage."""
CHANNELS = 320
MEAN, STD = (128.0, 128.0, 128.0), (128.0, 128.0, 128.0)
"""Of the pixels that the weights were trained on."""


class Convolution(nn.Conv2d):
    """A convolution with SAME padding, of inputs whose sides are even where it strides."""

    def __init__(self, entering: int, leaving: int, kernel: int = 1, *, stride: int = 1) -> None:
        groups = entering if kernel > 1 and entering == leaving else 1  # depthwise
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(
            entering, leaving, kernel, stride=stride, padding=padding, groups=groups, bias=True
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, entering, H, W) to (B, leaving, H / stride, W / stride)."""
        return super().forward(F.pad(x, (0, 1, 0, 1)) if self.stride[0] > 1 else x)


class InvertedResidual(nn.Module):
    """Widen, look around, narrow.

    Args:
        entering: channels.
        leaving: channels.
        expansion: of the channels inside.
        stride: 1 or 2.
    """

    def __init__(self, entering: int, leaving: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        inside = entering * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(nn.Sequential(Convolution(entering, inside)))
        layers.append(nn.Sequential(Convolution(inside, inside, 3, stride=stride)))
        layers.append(Convolution(inside, leaving))
        self.conv = nn.Sequential(*layers)
        self.is_residual = stride == 1 and entering == leaving

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, entering, H, W) to (B, leaving, H / stride, W / stride)."""
        out = x
        for layer in self.conv[:-1]:
            out = layer(out).clamp(0.0, 6.0)
        out = self.conv[-1](out)
        found: Tensor = out + x if self.is_residual else out
        return found


class Trunk(nn.Module):
    """The stages up to stride 32, without the last widening convolution."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(Convolution(3, _STEM, 3, stride=2))
        layers: list[nn.Module] = [stem]
        entering = _STEM
        for expansion, leaving, blocks, stride in _SETTINGS:
            for block in range(blocks):
                step = stride if block == 0 else 1
                layers.append(InvertedResidual(entering, leaving, expansion=expansion, stride=step))
                entering = leaving
        self.features = nn.Sequential(*layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, 3, S, S), pixels in -1 to 1, to (B, 320, S/32, S/32)."""
        x = self.features[0](pixels).clamp(0.0, 6.0)
        out: Tensor = self.features[1:](x)
        return out
