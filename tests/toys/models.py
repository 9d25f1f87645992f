"""Models small enough for a test."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samedge.models.layers import LayerNorm2d
from samedge.models.sam import Sam, build_sam


class PatchEncoder(nn.Module):
    """The smallest encoder that sees the whole image: patches of 16 and one mixing layer."""

    def __init__(self, embed_dim: int = 256) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, embed_dim, kernel_size=16, stride=16)
        self.mix = nn.Conv2d(embed_dim, embed_dim, kernel_size=3, padding=1, groups=embed_dim)
        self.norm = LayerNorm2d(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised (B, 3, S, S) to (B, C, S/16, S/16)."""
        x = self.patches(x)
        out: Tensor = self.norm(x + self.mix(torch.relu(x)))
        return out


def tiny_sam(image_size: int = 128, *, embed_dim: int = 256, seed: int = 0) -> Sam:
    """A random SAM: right names, shapes and semantics, milliseconds a call.

    Args:
        image_size: side S of the input, in pixels.
        embed_dim: channels of the image embedding.
        seed: of the random weights; the global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = build_sam(
            PatchEncoder(embed_dim), image_size, embed_dim=embed_dim, heads=4, mlp_dim=64
        )
    return sam.eval().requires_grad_(requires_grad=False)
