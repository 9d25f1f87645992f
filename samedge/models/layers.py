"""Small building blocks that several parts of the model share."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of an image-shaped tensor.

    Shape: (B, C, H, W) in and out.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every pixel's channel vector to mean 0 and variance 1, then scale and shift."""
        centred = x - x.mean(dim=1, keepdim=True)
        variance = (centred * centred).mean(dim=1, keepdim=True)
        normalised = centred * torch.rsqrt(variance + self.eps)
        return normalised * self.weight[:, None, None] + self.bias[:, None, None]


class MLP(nn.Module):
    """Linear layers with ReLU between them, none after the last.

    Args:
        dims: width of the input, of every hidden layer and of the output.
    """

    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(dims))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dims[0]) to (..., dims[-1])."""
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class Normalize(nn.Module):
    """Pixels to the encoder's input: NHWC 0..255 to normalised NCHW.

    The default statistics are ImageNet's in the 0..255 range, as SAM uses them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: tuple[float, float, float] = (123.675, 116.28, 103.53),
        std: tuple[float, float, float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, S, S, 3) uint8 or float RGB in 0..255 to (B, 3, S, S) float."""
        return (image.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std


def sam_neck(channels: int, embed_dim: int) -> nn.Sequential:
    """1x1 and 3x3 convolution, each with a layer norm: the end of SAM's and MobileSAM's encoders.

    Args:
        channels: of the input.
        embed_dim: of the image embedding.
    """
    return nn.Sequential(
        nn.Conv2d(channels, embed_dim, kernel_size=1, bias=False),
        LayerNorm2d(embed_dim),
        nn.Conv2d(embed_dim, embed_dim, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(embed_dim),
    )
