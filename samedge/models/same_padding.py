"""TensorFlow's SAME padding: a strided convolution pads right and bottom first."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SameConv2d(nn.Conv2d):
    """A strided convolution with TensorFlow's SAME padding, for inputs divisible by the stride."""

    @classmethod
    def from_conv(cls, conv: nn.Conv2d) -> SameConv2d:
        """Take over a convolution's parameters and names; its own padding is dropped."""
        same = cls(
            conv.in_channels,
            conv.out_channels,
            (conv.kernel_size[0], conv.kernel_size[1]),
            stride=(conv.stride[0], conv.stride[1]),
            groups=conv.groups,
            bias=conv.bias is not None,
        )
        same.weight, same.bias = conv.weight, conv.bias
        surplus = [max(k - s, 0) for k, s in zip(conv.kernel_size, conv.stride, strict=True)]
        top, left = surplus[0] // 2, surplus[1] // 2
        same.edges = (left, surplus[1] - left, top, surplus[0] - top)
        return same

    edges: tuple[int, int, int, int] = (0, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Pad right and bottom first, then convolve."""
        return super().forward(F.pad(x, self.edges))


def use_same_padding(backbone: nn.Module) -> None:
    """Let every strided convolution of a network pad as TensorFlow does; it keeps its weights."""
    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and max(child.stride) > 1:
                setattr(parent, name, SameConv2d.from_conv(child))
