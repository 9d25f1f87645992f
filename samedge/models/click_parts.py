"""Parts of the click decoder: its widths, blocks, prompt-made weights, prior and quality."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.click_painting import PRIOR_SIGMAS, ClickPainter, Painting, objects_of
from samedge.models.promptable import EmbeddingMap, image_embeddings
from samedge.types import FOREGROUND

TOKENS = 4
KINDS = 4
"""Kinds of evidence that a prompt gives: foreground, background, inside and outside of a box."""

_SCALARS = 8

_MASS = 64.0
"""What a map of ones sums to where maps are pooled. As means, cells would weigh less than fp16 can
say; as sums, more. A power of two, so that fp32 gives the same numbers as with means."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClickWidths:
    """Widths of the maps that an encoder makes for the decoder.

    Attributes:
        embed_dim: channels of the image embedding: what is added (``coarse``), compared (``heads``
            times ``head_dim``) and pooled (the rest).
        coarse, middle, fine: channels at strides 16, 8 and 4 of the input.
        heads: groups in which appearance is compared.
        head_dim: channels of one group.
    """

    embed_dim: int = 256
    coarse: int = 64
    middle: int = 24
    fine: int = 16
    heads: int = 8
    head_dim: int = 16

    @property
    def values(self) -> int:
        """Channels of the embedding that are pooled under the prompt."""
        return self.embed_dim - self.coarse - self.heads * self.head_dim


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClickConfig(ClickWidths):
    """Widths of the decoder.

    Attributes:
        paint: channels of the painted prompt at stride 8.
        blocks: residual blocks at stride 16.
        expanded: channels inside of those blocks.
        hidden: width of the network that makes the prompt's own weights.
    """

    paint: int = 16
    blocks: int = 3
    expanded: int = 112
    hidden: int = 128


def click_maps(widths: ClickWidths) -> tuple[EmbeddingMap, ...]:
    """The three maps of an image, as encoder and decoder name them."""
    return (
        image_embeddings(widths.embed_dim),
        EmbeddingMap("high_res_features_4", widths.fine, 4),
        EmbeddingMap("high_res_features_8", widths.middle, 8),
    )


class Block(nn.Module):
    """Residual block: 7x7 depthwise and two 1x1 (ConvNeXt, Liu et al. 2022; ReLU, no norm)."""

    def __init__(self, channels: int, expanded: int, kernel: int = 7) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.expand = nn.Conv2d(channels, expanded, 1)
        self.project = nn.Conv2d(expanded, channels, 1)
        nn.init.kaiming_normal_(self.expand.weight, nonlinearity="relu")
        nn.init.normal_(self.project.weight, std=0.3 / expanded**0.5)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        y: Tensor = self.project(F.relu(self.expand(self.depthwise(x))))
        return x + y


class PromptWeights(nn.Module):
    """Two layers of 1x1 convolutions at stride 4, their weights computed from what was pooled."""

    def __init__(self, config: ClickConfig) -> None:
        super().__init__()
        self.width = f = config.fine
        entering = KINDS * (config.values + config.coarse) + 2 * f + config.coarse + 3
        self.hidden = nn.Linear(entering, config.hidden)
        self.sizes = [f * f, f, TOKENS * f, TOKENS]
        self.leaving = nn.Linear(config.hidden, sum(self.sizes))
        nn.init.normal_(self.leaving.weight, std=0.002)
        with torch.no_grad():  # the painted prompt is the whole answer at first
            start = [torch.randn(f, f).flatten() * (2.0 / f) ** 0.5, torch.zeros(f)]
            start += [torch.zeros(TOKENS * f), torch.zeros(TOKENS)]
            self.leaving.bias.copy_(torch.cat(start))
            self.leaving.weight[f * f + f :].zero_()

    def forward(self, pooled: Tensor, fine: Tensor) -> Tensor:
        """(B, P) pooled evidence and (B, fine, G, G) to logits (B, 4, G, G)."""
        f, side = self.width, fine.shape[-1]
        made = self.leaving(F.relu(self.hidden(pooled)))
        first, bias, second, last = made.split(self.sizes, 1)
        x = first.view(-1, f, f) @ fine.flatten(2) + bias.unsqueeze(-1)
        x = second.view(-1, TOKENS, f) @ F.relu(x) + last.unsqueeze(-1)
        logits: Tensor = x.view(-1, TOKENS, side, side)
        return logits


class Prior(nn.Module):
    """Logits that the painting alone would give."""

    def __init__(self) -> None:
        super().__init__()
        self.box = nn.Parameter(torch.full((TOKENS,), 4.0))
        self.edge = nn.Parameter(torch.full((TOKENS,), 2.0))
        self.small = nn.Parameter(torch.full((TOKENS,), 1.0))
        self.radius = nn.Parameter(torch.full((TOKENS,), 1.0))
        self.click = nn.Parameter(torch.full((TOKENS,), 6.0))
        self.bias = nn.Parameter(torch.full((TOKENS,), -3.0))
        self.mask = nn.Parameter(torch.full((TOKENS,), 0.7))
        self.touch = nn.Parameter(torch.full((TOKENS,), 2.0))

    def forward(
        self,
        painter: ClickPainter,
        drawing: Painting,
        *,
        coords: Tensor,
        labels: Tensor,
        earlier: Tensor,
        has: Tensor,
    ) -> Tensor:
        """(B, 4, S/4, S/4)."""
        foreground = (labels == FOREGROUND).to(coords.dtype)
        blobs = torch.cat([painter.blob(coords, foreground, sigma) for sigma in PRIOR_SIGMAS], 1)
        box, present = drawing.box, drawing.present
        # Without a box the map that this weighs is 0, so `present` only spells the 1 out:
        # coremltools 9.0 makes x * constant + constant a batch norm, and fails on (B, 1, 1, 1).
        edge = present * _column(self.edge) + drawing.small * _column(self.small)
        from_box = (
            box[:, 0:1] * _column(self.box)
            + box[:, 1:2] * edge
            + (0.75 - 4.0 * box[:, 2:3]).clamp(min=-1.0) * present * _column(self.radius)
        )
        from_click = blobs * _column(self.click) + _column(self.bias)
        touch = (drawing.clicks[:, 0:1] - drawing.clicks[:, 2:3]) * _column(self.touch)
        start = from_box + (1.0 - present) * from_click
        return (1.0 - has) * start + earlier * _column(self.mask) + touch


class Quality(nn.Module):
    """Each mask's IoU, estimated from what lies under it, around it, and how sure its edge is."""

    def __init__(self, config: ClickConfig) -> None:
        super().__init__()
        c = config
        entering = c.fine + 2 * c.middle + 2 * c.coarse + _SCALARS + 2 * TOKENS
        self.layers = nn.Sequential(
            nn.Linear(entering, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 1)
        )
        self.register_buffer("code", torch.eye(TOKENS).unsqueeze(0), persistent=False)
        self.code: Tensor

    def forward(
        self, logits: Tensor, fine: Tensor, middle: Tensor, coarse: Tensor, drawing: Painting
    ) -> Tensor:
        """(B, 4) predicted IoU."""
        fine, middle, coarse = (self._gently(x) for x in (fine, middle, coarse))
        logits = logits.detach()
        chance = torch.sigmoid(logits)
        half = F.avg_pool2d(chance, 2)
        quarter = F.avg_pool2d(half, 2)
        ring_half = F.max_pool2d(half, 5, 1, 2) - half
        ring_quarter = F.max_pool2d(quarter, 3, 1, 1) - quarter
        parts = [pooled_own(chance, fine), pooled_own(half, middle), pooled_own(quarter, coarse)]
        parts += [pooled_own(ring_half, middle), pooled_own(ring_quarter, coarse)]
        parts += [self._scalars(logits, chance, drawing), self._overlaps(chance)]
        parts.append(self.code.expand(logits.shape[0], -1, -1))
        quality: Tensor = torch.sigmoid(self.layers(torch.cat(parts, -1))).squeeze(-1)
        return quality

    def _gently(self, x: Tensor) -> Tensor:
        """Let a tenth of the gradient through while training."""
        return x * 0.1 + x.detach() * 0.9 if self.training else x

    def _scalars(self, logits: Tensor, chance: Tensor, drawing: Painting) -> Tensor:
        area = chance.mean((2, 3)).unsqueeze(-1)
        scale = 1.0 / (area + 1e-4)
        sure = (chance * chance).mean((2, 3)).unsqueeze(-1) * scale
        high = torch.sigmoid((logits - 1.0) * 4.0).mean((2, 3)).unsqueeze(-1)
        low = torch.sigmoid((logits + 1.0) * 4.0).mean((2, 3)).unsqueeze(-1)
        steady = high / (low + 1e-4)
        objects = objects_of(drawing)
        shared = _light(chance) @ objects.flatten(2).transpose(1, 2)  # (B, 4, 2)
        totals = objects.mean((2, 3)).unsqueeze(1)
        covered = shared / (totals * _MASS + 1e-4 * _MASS)
        spent = shared * (scale * (1.0 / _MASS))
        root = torch.sqrt(area)
        return torch.cat([root, sure, sure * sure, steady, covered, spent], -1)

    def _overlaps(self, chance: Tensor) -> Tensor:
        """IoU of every mask with the others, soft; (B, 4, 4)."""
        half = F.avg_pool2d(chance, 2)
        flat = half.flatten(2)
        shared = _light(half) @ flat.transpose(1, 2)
        own = flat.mean(2) * _MASS
        union = own.unsqueeze(1) + own.unsqueeze(2) - shared
        return shared / (union + 1e-4 * _MASS)


def likeness(evidence: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Likeness of every position with the mean appearance under each kind of evidence.

    Args:
        evidence: (B, 4, G, G).
        keys: (b, C, G, G).
        heads: groups of channels that are compared by themselves.

    Returns:
        (B, 4 * heads, G, G); zero for a kind that is absent.
    """
    images, channels, side = keys.shape[0], keys.shape[1], keys.shape[-1]
    mean = pooled(evidence, keys)  # (B, 4, C)
    width = channels // heads
    grouped = mean.reshape(-1, KINDS, heads, width)
    grouped = grouped * torch.rsqrt((grouped * grouped).sum(-1, keepdim=True) + 1e-3)
    flat = keys.reshape(images, heads, width, side * side)
    # (b, heads, B/b * 4, width) @ (b, heads, width, G * G)
    asked = grouped.reshape(images, -1, heads, width).transpose(1, 2)
    found = (asked @ flat).reshape(images, heads, -1, side * side).transpose(1, 2)
    if heads == 1:
        found = found * (1.0 / channels**0.5)
    return found.reshape(-1, KINDS * heads, side, side)


def pooled(weights: Tensor, features: Tensor) -> Tensor:
    """Means of an image's features under the weights of its prompts.

    Args:
        weights: (B, K, G, G), not negative.
        features: (b, C, G, G).

    Returns:
        (B, K, C).
    """
    kinds, channels = weights.shape[1], features.shape[1]
    cells = weights.shape[-1] * weights.shape[-2]
    scale = 1.0 / (weights.mean((2, 3)) * _MASS + 2e-5 * _MASS)
    flat = _light(weights).reshape(features.shape[0], -1, cells)
    sums = flat @ features.flatten(2).transpose(1, 2)
    return sums.reshape(-1, kinds, channels) * scale.unsqueeze(-1)


def pooled_own(weights: Tensor, features: Tensor) -> Tensor:
    """``pooled`` with features of each prompt, (B, C, G, G)."""
    scale = 1.0 / (weights.mean((2, 3)) * _MASS + 1e-4 * _MASS)
    sums = _light(weights) @ features.flatten(2).transpose(1, 2)
    return sums * scale.unsqueeze(-1)


def _light(weights: Tensor) -> Tensor:
    """(B, K, G, G) as (B, K, G * G), so that ones sum to ``_MASS``."""
    return weights.flatten(2) * (_MASS / (weights.shape[-1] * weights.shape[-2]))


def add_image(x: Tensor, image: Tensor) -> Tensor:
    """Add images (b, C, G, G) to the prompts (B, C, G, G) of each."""
    if image.shape[0] == 1:
        return x + image
    images = image.shape[0]
    grouped = x.reshape(images, -1, *x.shape[1:]) + image.unsqueeze(1)
    return grouped.flatten(0, 1)


def _column(weight: Tensor) -> Tensor:
    return weight.view(1, -1, 1, 1)
