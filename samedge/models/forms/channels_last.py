"""The decoder's convolutions as plain matrix products on ``(position, channel)`` tensors.

Every convolution of SAM's decoder has a stride equal to its kernel, so it is one product of
matrices when channels come last; normalisations are then plain ones over the last axis, which every
runtime has a kernel for, and activations need no order at all. Sub-pixels stay rows of the tensor.
Only the mask prompt on its way in and the finished masks on their way out, each far smaller than
what lies between, are moved between image order and position order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.layers import LayerNorm2d
from samedge.models.prompt_encoder import PromptEncoder


def positions_from_grid(grid: Tensor) -> Tensor:
    """Map (B, C, h, w) to (B, h w, C)."""
    channels, count = grid.shape[1], grid.shape[2] * grid.shape[3]
    # One transposition of the last axis to the front: the order that OpenVINO has a kernel for.
    return grid.reshape(-1, channels, 1, count).permute(0, 3, 1, 2).reshape(-1, count, channels)


def grid_from_subpixels(values: Tensor, size: int) -> Tensor:
    """Map (B, h w i j k l, M) with two halvings (i, j), (k, l) to (B, M, 4h, 4w).

    Args:
        values: rows ordered position, sub-pixel, sub-sub-pixel.
        size: h = w.
    """
    masks = values.shape[2]
    x = values.reshape(-1, size, 2, 2, 4 * masks).transpose(1, 2)
    x = x.reshape(-1, 2 * size, 2, 2, masks).transpose(1, 2)
    return x.reshape(-1, 4 * size, 4 * size, masks).permute(0, 3, 1, 2)


def subpixels_from_grid(grid: Tensor) -> Tensor:
    """Map (B, 1, 4h, 4w) to (B, h w, 4, 4): position, 2x2 block, pixel of the block."""
    size = grid.shape[2] // 4
    x = grid.reshape(-1, 2, 2, 2 * size, 2).transpose(2, 3)  # (B h, i, k, w j, l)
    x = x.reshape(-1, 2, size, 2, 4).transpose(1, 2)  # (B h, w, i, j, k l)
    return x.reshape(-1, size * size, 4, 4)


class CentredNorm(nn.Module):
    """Layer normalisation of rows whose mean is zero already.

    Args:
        norm: the normalisation that it replaces.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Scale (..., C) rows to variance 1, then scale and shift by channel."""
        variance = (x * x).mean(dim=-1, keepdim=True)
        return x * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class Upscaling(nn.Module):
    """SAM's two transposed convolutions, with sub-pixels as rows.

    Args:
        upscaling: where the weights come from; it stays as it is.
        centred: let the first product's weights take the mean away, which is exact, so that the
            normalisation need not; for runtimes whose normalisation is slow on short rows.
    """

    def __init__(self, upscaling: nn.Sequential, *, centred: bool = False) -> None:
        super().__init__()
        first, norm, _, second, _ = upscaling
        assert isinstance(first, nn.ConvTranspose2d)
        assert isinstance(second, nn.ConvTranspose2d)
        assert isinstance(norm, LayerNorm2d)
        self.first, self.second = _linear_from_transposed(first), _linear_from_transposed(second)
        self.channels, self.out_channels = first.out_channels, second.out_channels
        self.norm: nn.Module = _last_axis_norm(norm)
        if centred:
            _centre_groups(self.first, self.channels)
            self.norm = CentredNorm(_last_axis_norm(norm))

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, P, C) to (B, 16 P, C/8), rows ordered position, sub-pixel, sub-sub-pixel."""
        count = image.shape[1]
        x = self.first(image).reshape(-1, 4 * count, self.channels)
        x = self.second(F.gelu(self.norm(x)))
        return F.gelu(x.reshape(-1, 16 * count, self.out_channels))


class MaskEmbedding(nn.Module):
    """SAM's mask prompt path, from low-res logits to one vector a position.

    Args:
        encoder: where the weights come from; it stays as it is.
    """

    def __init__(self, encoder: PromptEncoder) -> None:
        super().__init__()
        first, norm1, _, second, norm2, _, last = encoder.mask_downscaling
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        assert isinstance(norm1, LayerNorm2d)
        assert isinstance(norm2, LayerNorm2d)
        self.first, self.norm1 = _linear_from_strided(first), _last_axis_norm(norm1)
        self.second, self.norm2 = _linear_from_strided(second), _last_axis_norm(norm2)
        self.last = _linear_from_strided(last)
        self.no_mask = encoder.no_mask_embedding

    def forward(self, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
        """Map (B, 1, 4h, 4w) logits and (B,) flags to (B, h w, C)."""
        x = self.norm1(self.first(subpixels_from_grid(mask_input)))
        x = F.gelu(x.flatten(2))
        x = F.gelu(self.norm2(self.second(x)))
        has = has_mask_input.view(-1, 1, 1)
        # Blending before the last product: its input is 16 times smaller than its output.
        constant = has * self.last.bias + (1.0 - has) * self.no_mask
        return F.linear(x * has, self.last.weight) + constant


def _linear_from_transposed(conv: nn.ConvTranspose2d) -> nn.Linear:
    """A transposed convolution with stride = kernel = 2 as one product, outputs (i, j, channel)."""
    weight = conv.weight.detach()  # (in, out, 2, 2)
    assert conv.bias is not None
    return _linear(
        weight.permute(2, 3, 1, 0).reshape(-1, conv.in_channels), conv.bias.detach().repeat(4)
    )


def _linear_from_strided(conv: nn.Conv2d) -> nn.Linear:
    """A convolution with stride = kernel as one product, inputs ordered (i, j, channel)."""
    assert conv.bias is not None
    weight = conv.weight.detach().permute(0, 2, 3, 1).reshape(conv.out_channels, -1)
    return _linear(weight, conv.bias.detach())


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.requires_grad_(requires_grad=False)
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
    return linear


def _last_axis_norm(norm: LayerNorm2d) -> nn.LayerNorm:
    plain = nn.LayerNorm(norm.weight.shape[0], eps=norm.eps)
    plain.requires_grad_(requires_grad=False)
    plain.weight.copy_(norm.weight.detach())
    plain.bias.copy_(norm.bias.detach())
    return plain


def _centre_groups(linear: nn.Linear, channels: int) -> None:
    """Make every group of ``channels`` outputs sum to zero, whatever the input."""
    for parameter in (linear.weight, linear.bias):
        groups = parameter.view(-1, channels, *parameter.shape[1:])
        groups -= groups.mean(dim=1, keepdim=True)
