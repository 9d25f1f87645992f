"""Parts of the click decoder: its widths, blocks, prompt-made weights, prior and quality."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.click_painting import Painting
from samedge.models.promptable import EmbeddingMap, image_embeddings

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


class ConvOfTwo(nn.Conv2d):
    """A 1x1 convolution of two maps side by side, without laying them there.

    Args:
        first: channels of the one.
        second: of the other.
        leaving: of the result.
    """

    def __init__(self, first: int, second: int, leaving: int) -> None:
        super().__init__(first + second, leaving, 1)
        self.sides = [first, second]

    def forward(self, first: Tensor, second: Tensor) -> Tensor:  # type: ignore[override]
        """Map (B, first, G, G) and (B, second, G, G) to (B, leaving, G, G)."""
        from_first, from_second = torch.split(self.weight, self.sides, 1)
        return F.conv2d(first, from_first, self.bias) + F.conv2d(second, from_second)


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

    def forward(self, pooled: Tensor, fine: Tensor, bias: Tensor) -> Tensor:
        """Logits of the prompt's own layers.

        Args:
            pooled: (B, P), what was pooled.
            fine: (B, fine, cells).
            bias: (B, 4), added to the logits.

        Returns:
            (B, 4, cells).
        """
        f = self.width
        made = self.leaving(F.relu(self.hidden(pooled)))
        first, shift, second, last = torch.split(made, self.sizes, 1)
        x = first.reshape(-1, f, f) @ fine + shift.unsqueeze(-1)
        logits: Tensor = second.reshape(-1, TOKENS, f) @ F.relu(x) + (last + bias).unsqueeze(-1)
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
        self.register_buffer("one_each", torch.eye(TOKENS), persistent=False)
        self.one_each: Tensor

    def forward(
        self, painting: Painting, *, earlier: Tensor, has: Tensor, cells: int
    ) -> tuple[Tensor, Tensor]:
        """The logits without their bias, (B, 4, cells), and their bias, (B, 4).

        Args:
            painting: the prompt.
            earlier: (B, 1, S/4, S/4), logits of an earlier mask, 0 without one.
            has: (B, 1), 1 where there is one.
            cells: of the grid at stride 4.
        """
        fine = painting.fine
        ring = (0.75 - fine.radius * 4.0).clamp(min=-1.0)
        maps = torch.cat([fine.distance, ring, fine.blobs, earlier], 1)
        count = 2 + 1 + 2 + TOKENS + 1
        alone = 1.0 - has
        said = [alone, alone * painting.present.flatten(1), alone * painting.small.flatten(1)]
        weight, constant = self._mixing()
        mixed = F.linear(torch.cat(said, 1), weight, constant)
        weights, bias = torch.split(mixed, [TOKENS * count, TOKENS], 1)
        return weights.reshape(-1, TOKENS, count) @ maps.reshape(-1, count, cells), bias

    def _mixing(self) -> tuple[Tensor, Tensor]:
        """What each map counts for each mask, and the bias, by what is said of the prompt.

        Without an earlier mask a box gives distances and ring, and where there is no box, clicks
        their blobs and the bias; the earlier mask and precise clicks always count.

        Returns:
            (44, 3) and (44,): by `alone`, and that with a box, and that with a small one.
        """
        none = torch.zeros_like(self.box)
        clicks = (self.one_each * self.click).unbind()
        hidden = (self.one_each * -self.click).unbind()
        by_alone = [self.box, none, none, none, none, *clicks, none]
        by_box = [none, self.edge, self.radius, none, none, *hidden, none]
        by_small = [none, self.small] + [none] * 8
        always = [none, none, none, self.touch, -self.touch, *([none] * TOKENS), self.mask]
        rows = [torch.stack(maps, 1).flatten() for maps in (by_alone, by_box, by_small, always)]
        biases = [self.bias, -self.bias, none, none]
        *said, constant = (torch.cat([row, bias]) for row, bias in zip(rows, biases, strict=True))
        return torch.stack(said, 1), constant


class _LinearByMask(nn.Linear):
    """A linear layer that is told beside its inputs, in a code of one of four, which mask it is.

    Args:
        entering: inputs beside the code.
        leaving: outputs.
    """

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__(entering + TOKENS, leaving)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 4, entering) to (B, 4, leaving): a row of the code is a bias for each mask."""
        known, which = torch.split(self.weight, [self.in_features - TOKENS, TOKENS], 1)
        return F.linear(x, known) + (which.t() + self.bias)


class Quality(nn.Module):
    """Each mask's IoU, estimated from what lies under it, around it, and how sure its edge is.

    Args:
        config: widths.
        image_size: side S of the padded input, in pixels.
    """

    def __init__(self, config: ClickConfig, image_size: int) -> None:
        super().__init__()
        c = config
        described = c.fine + 2 * c.middle + 2 * c.coarse + _SCALARS + TOKENS
        self.layers = nn.Sequential(
            _LinearByMask(described, 96),
            nn.ReLU(),
            nn.Linear(96, 48),
            nn.ReLU(),
            nn.Linear(48, 1),
        )
        self.cells = [(image_size // stride) ** 2 for stride in (4, 8, 16)]

    def forward(
        self,
        logits: Tensor,
        fine: Tensor,
        middle: Tensor,
        coarse: Tensor,
        objects: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Estimate the IoU of four masks.

        Args:
            logits: (B, 4, S/4, S/4).
            fine: map at stride 4, (B, C, cells).
            middle: at stride 8.
            coarse: at stride 16.
            objects: what speaks for the object and against it, (B, 2, cells) at stride 4, and the
                sums of its :func:`light`, (B, 2, 1).

        Returns:
            (B, 4) predicted IoU.
        """
        fine, middle, coarse = (self._gently(x) for x in (fine, middle, coarse))
        logits = logits.detach()
        chance = torch.sigmoid(logits)
        half = F.avg_pool2d(chance, 2)
        light_half = half * (_MASS / self.cells[1])
        light_quarter = F.avg_pool2d(half, 2) * (_MASS / self.cells[2])
        rows = [self._rows(light(chance, self.cells[0]), 0)]
        rows += [self._rows(light_half, 1), self._rows(light_quarter, 2)]
        rows += [self._rows(F.max_pool2d(light_half, 5, 1, 2) - light_half, 1)]
        rows += [self._rows(F.max_pool2d(light_quarter, 3, 1, 1) - light_quarter, 2)]
        # Halving keeps the mean, so that one sum serves three sizes.
        total = rows[0].sum(2, keepdim=True)
        totals = [total, total, total, *(ring.sum(2, keepdim=True) for ring in rows[3:])]
        features = [fine, middle, coarse, middle, coarse]
        parts = [
            pooled_own(row, total, map_)
            for row, total, map_ in zip(rows, totals, features, strict=True)
        ]
        parts += [self._scalars(logits, chance, (rows[0], total), objects)]
        parts += [self._overlaps(rows[1], self._rows(half, 1), total)]
        quality: Tensor = torch.sigmoid(self.layers(torch.cat(parts, -1))).squeeze(-1)
        return quality

    def _rows(self, maps: Tensor, level: int) -> Tensor:
        """(B, 4, G, G) to (B, 4, G * G)."""
        return maps.reshape(-1, TOKENS, self.cells[level])

    def _gently(self, x: Tensor) -> Tensor:
        """Let a tenth of the gradient through while training."""
        return x * 0.1 + x.detach() * 0.9 if self.training else x

    def _scalars(
        self,
        logits: Tensor,
        chance: Tensor,
        under: tuple[Tensor, Tensor],
        objects: tuple[Tensor, Tensor],
    ) -> Tensor:
        """(B, 4, 8) of each mask; ``under`` is its light, (B, 4, cells), and the sum of that."""
        area = under[1] * (1.0 / _MASS)
        scale = 1.0 / (area + 1e-4)
        sure = (chance * chance).mean((2, 3)).unsqueeze(-1) * scale
        steep = logits * 4.0
        high = torch.sigmoid(steep - 4.0).mean((2, 3)).unsqueeze(-1)
        low = torch.sigmoid(steep + 4.0).mean((2, 3)).unsqueeze(-1)
        steady = high / (low + 1e-4)
        shared = under[0] @ objects[0].transpose(1, 2)  # (B, 4, 2)
        covered = shared / (objects[1].transpose(1, 2) + 1e-4 * _MASS)
        spent = shared * (scale * (1.0 / _MASS))
        root = torch.sqrt(area)
        return torch.cat([root, sure, sure * sure, steady, covered, spent], -1)

    def _overlaps(self, light_half: Tensor, half: Tensor, total: Tensor) -> Tensor:
        """IoU of every mask with the others, soft; (B, 4, 4)."""
        shared = light_half @ half.transpose(1, 2)
        union = total + total.transpose(1, 2) - shared
        return shared / (union + 1e-4 * _MASS)


def likeness(mean: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Likeness of every position with the mean appearance under each kind of evidence.

    Args:
        mean: (B, 4, C), of :func:`pooled`; zero for a kind that is absent.
        keys: (b, C, cells).
        heads: groups of channels that are compared by themselves.

    Returns:
        (B, 4 * heads, cells); zero for a kind that is absent.
    """
    images, channels, cells = images_of(keys), mean.shape[2], keys.shape[2]
    width = channels // heads
    grouped = mean.reshape(-1, KINDS, heads, width)
    grouped = grouped / torch.sqrt((grouped * grouped).sum(-1, keepdim=True) + 1e-3)
    if heads == 1:
        asked = (grouped * (1.0 / channels**0.5)).reshape(images, -1, channels)
        alike: Tensor = asked @ keys
        return alike.reshape(-1, KINDS, cells)
    # (b, heads, B/b * 4, width) @ (b, heads, width, cells)
    asked = grouped.reshape(images, -1, heads, width).transpose(1, 2)
    found = (asked @ keys.reshape(images, heads, width, cells)).transpose(1, 2)
    return found.reshape(-1, KINDS * heads, cells)


def light(weights: Tensor, cells: int) -> Tensor:
    """Weights so that a map of ones sums to ``_MASS``."""
    return weights * (_MASS / cells)


def pooled(weights: Tensor, total: Tensor, features: Tensor) -> Tensor:
    """Means of an image's features under the weights of its prompts.

    Args:
        weights: (B, K, cells), as of :func:`light`, not negative.
        total: (B, K, 1), their sums.
        features: (b, C, cells).

    Returns:
        (B, K, C).
    """
    kinds, channels, cells = weights.shape[1], features.shape[1], features.shape[2]
    each = weights.reshape(images_of(features), -1, cells)
    sums = (each @ features.transpose(1, 2)).reshape(-1, kinds, channels)
    return sums / (total + 2e-5 * _MASS)


def pooled_own(weights: Tensor, total: Tensor, features: Tensor) -> Tensor:
    """``pooled`` with features of each prompt, (B, C, cells)."""
    return (weights @ features.transpose(1, 2)) / (total + 1e-4 * _MASS)


def images_of(maps: Tensor) -> int:
    """How many images there are: a plain number where it is one, as in every graph."""
    return 1 if maps.shape[0] == 1 else maps.shape[0]


def add_image(x: Tensor, image: Tensor) -> Tensor:
    """Add images (b, C, G, G) to the prompts (B, C, G, G) of each."""
    if image.shape[0] == 1:
        return x + image
    images = image.shape[0]
    grouped = x.reshape(images, -1, *x.shape[1:]) + image.unsqueeze(1)
    return grouped.flatten(0, 1)
