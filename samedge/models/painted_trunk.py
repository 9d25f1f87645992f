"""What every form of the click-map decoder computes: its maths, once.

Two forms are made of it. :class:`~samedge.models.painted.PaintedDecoder` is trained, and exported
to most platforms; :mod:`samedge.models.forms.planar_painted` is what the Neural Engine wants. They
differ in how planes are picked and added up, and in nothing else.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.painting import Paint, PromptProfiles, constant, paint
from samedge.models.parted import PartedDecoder

POOL = 4
"""Cells of the low-res grid along a cell of the image embedding."""

POOLED_PROMPTS = 4
"""Kinds of prompts that appearance is pooled under."""

PLANES = 10
"""The clicks, three maps of the box and whether there is one, an earlier mask and whether there is
one."""

EARLIER_SCALE = 1 / 4


@dataclasses.dataclass(frozen=True)
class PaintedConfig:
    """Widths of the decoder.

    Attributes:
        embed_dim: channels of the image embedding.
        coarse, middle, fine: channels at strides 16, 8 and 4 of the input.
        blocks: residual blocks at stride 16.
        heads: groups in which the pooled appearance is compared.
        head_dim: channels of one group.
    """

    embed_dim: int = 256
    coarse: int = 128
    middle: int = 48
    fine: int = 24
    blocks: int = 3
    heads: int = 4
    head_dim: int = 16


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One prompt a row, as the network sees it.

    Attributes:
        paint: what points and boxes draw.
        earlier: (B, 1, G, G) logits of an earlier mask, cut at 8; 0 without one.
        has: (B, 1, 1, 1), 1 where there is an earlier mask.
        planes: (B, 10, G, G), all of it as ``paint_fine`` takes it.
    """

    paint: Paint
    earlier: Tensor
    has: Tensor
    planes: Tensor


class PaintedTrunk(PartedDecoder):
    """What every form of the decoder computes, from the drawn prompt to masks and their quality.

    A form brings the layers under these names. It says how planes are picked and added up, which
    is the one thing that platforms want written differently.
    """

    prompts: PromptProfiles
    plane: Tensor
    image_coarse: nn.Conv2d
    image_middle: nn.ConvTranspose2d
    image_fine: nn.Sequential
    image_keys: nn.Conv2d
    paint_fine: nn.Conv2d
    paint_middle: nn.Conv2d
    paint_coarse: nn.Conv2d
    match: nn.Conv2d
    blocks: nn.Sequential
    up_middle: nn.Conv2d
    middle: nn.Conv2d
    middle_norm: nn.Module
    up_fine: nn.Conv2d
    fine: nn.Conv2d
    masks: nn.Conv2d
    radius_weight: Tensor
    click_weight: Tensor
    click_bias: Tensor

    def __init__(self, image_size: int, config: PaintedConfig) -> None:
        super().__init__()
        self.image_size, self.config = image_size, config
        self.prompts = PromptProfiles(image_size)
        constant(self, "plane", torch.ones(1, 1, image_size // 4, image_size // 4))

    def decode(
        self, image_embeddings: Tensor, mask_input: Tensor, has_mask_input: Tensor, *points: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts.

        Args:
            image_embeddings: (1, C, S/16, S/16), or (b, C, S/16, S/16) with B a multiple of b and
                the prompts of one image side by side.
            mask_input: (B, 1, S/4, S/4), low-res logits of an earlier mask.
            has_mask_input: (B,), 1 where ``mask_input`` counts.
            points: the outputs of ``prompts``.

        Returns:
            low_res_masks (B, 4, S/4, S/4) and iou_predictions (B, 4).
        """
        has = has_mask_input.view(-1, 1, 1, 1)
        earlier = mask_input.clamp(-8.0, 8.0) * has
        painted = paint(*points)
        drawing = Drawing(painted, earlier, has, self._planes(painted, earlier, has))
        fine, coarse = self._features(image_embeddings, drawing)
        logits = self.masks(fine) + self._prior(drawing)
        return logits, self._iou(logits, fine, coarse)

    def _features(self, embeddings: Tensor, drawing: Drawing) -> tuple[Tensor, Tensor]:
        """The U: (B, fine, G, G) and (B, coarse, G/4, G/4)."""
        count = drawing.planes.shape[0]
        fine = self.paint_fine(drawing.planes)
        middle = self.paint_middle(F.relu(fine))
        coarse = self.paint_coarse(F.relu(middle))
        coarse = coarse + _per_prompt(self.image_coarse(embeddings), count)
        coarse = coarse + self.match(self._similar(embeddings, drawing))
        coarse = self.blocks(coarse)

        middle = middle + _per_prompt(self.image_middle(embeddings), count)
        middle = middle + F.interpolate(self.up_middle(coarse), scale_factor=2.0, mode="nearest")
        middle = F.relu(self.middle_norm(middle))
        middle = middle + F.relu(self.middle(middle))

        fine = fine + _per_prompt(self.image_fine(embeddings), count)
        fine = fine + F.interpolate(
            self.up_fine(middle), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        fine = F.relu(fine)
        return fine + F.relu(self.fine(fine)), coarse

    def _similar(self, embeddings: Tensor, drawing: Drawing) -> Tensor:
        """Cosine similarity of every position with the appearance under the prompt.

        Returns:
            (B, heads * prompts, S/16, S/16); zero for a kind of prompt that is absent.
        """
        heads, head_dim = self.config.heads, self.config.head_dim
        keys = self.image_keys(embeddings)
        side = keys.shape[-1]
        keys = keys.reshape(-1, heads, head_dim, side * side)
        keys = keys * torch.rsqrt((keys * keys).sum(2, keepdim=True) + 1e-3)
        keys = _per_prompt(keys, drawing.planes.shape[0])
        drawn = drawing.paint
        known = (torch.sigmoid(drawing.earlier) - 0.5).clamp(min=0.0)  # 0 without an earlier mask
        inside = (1.0 - drawn.radius).clamp(0.0, 1.0) * drawn.present
        ring = (drawn.radius - 1.5).clamp(0.0, 1.0)  # a radius of 0 where there is no box
        weights = self._pooled(drawn.clicks, known, inside, ring)
        weights = weights.reshape(-1, 1, POOLED_PROMPTS, side * side)
        weights = weights / (weights.sum(3, keepdim=True) + 1e-3)
        pooled = weights @ keys.transpose(2, 3)  # (B, heads, prompts, head_dim)
        similar: Tensor = pooled @ keys
        return self._laid_out(similar.reshape(-1, heads * POOLED_PROMPTS, side, side))

    def _prior(self, drawing: Drawing) -> Tensor:
        """Logits that the drawing alone would give, (B, 4, S/4, S/4)."""
        drawn = drawing.paint
        from_click = drawn.priors * column(self.click_weight) + column(self.click_bias)
        radius = (0.75 - drawn.radius).clamp(min=-1.0) * drawn.present
        from_box = self._near_edges(drawing) + radius * column(self.radius_weight)
        start = from_box + (1.0 - drawn.present) * from_click
        return self._with_seen((1.0 - drawing.has) * start, drawing)

    def _laid_out(self, x: Tensor) -> Tensor:
        """Image-shaped ``x`` in the memory order that convolutions here are quickest with."""
        return x

    @abstractmethod
    def _planes(self, painted: Paint, earlier: Tensor, has: Tensor) -> Tensor:
        """All that was drawn as (B, 10, G, G), as ``paint_fine`` takes it."""

    @abstractmethod
    def _pooled(self, clicks: Tensor, known: Tensor, inside: Tensor, ring: Tensor) -> Tensor:
        """The near foreground clicks with what is known, the near background clicks, and the two of
        the box, averaged over each cell of the embedding: (B, 4, S/16, S/16).
        """

    @abstractmethod
    def _near_edges(self, drawing: Drawing) -> Tensor:
        """What a box's edges say of each mask, (B, 4, G, G)."""

    @abstractmethod
    def _with_seen(self, start: Tensor, drawing: Drawing) -> Tensor:
        """``start`` and what an earlier mask and the spots under the clicks say."""

    @abstractmethod
    def _iou(self, logits: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """Each mask's IoU, (B, 4), from :func:`evidence`."""


def evidence(logits: Tensor, fine: Tensor, coarse: Tensor) -> tuple[Tensor, ...]:
    """What lies under each mask and how sure its edge is.

    Sums over positions are scaled by the root of their number before and after, because their whole
    number at once leaves fp16's normal range on either side.

    Args:
        logits: (B, 4, G, G).
        fine: (B, C, G, G) features.
        coarse: (B, C', G/4, G/4) features.

    Returns:
        Mean features under each mask, (B, 1, 4, C) and (B, 1, 4, C'); then (B, 1, 4, 1) the root of
        its area, its sureness and the square of that.
    """
    chance = torch.sigmoid(logits)
    below = _sums(F.avg_pool2d(chance, POOL), coarse)
    cells = fine.shape[2] * fine.shape[3]
    chance = chance.reshape(-1, 1, 4, cells)
    area = chance.mean(3, keepdim=True)  # (B, 1, 4, 1)
    scale = 1.0 / (area + 1e-4)
    sure = (chance * chance).mean(3, keepdim=True) * scale
    under = _sums(chance, fine) * (scale * cells**-0.5)
    below = below * (scale * (POOL * cells**-0.5))
    return under, below, torch.sqrt(area), sure, sure * sure


def _sums(chance: Tensor, features: Tensor) -> Tensor:
    """Features under each mask, over the root of the number of positions; (B, 1, 4, C)."""
    cells = features.shape[2] * features.shape[3]
    rows = features.reshape(-1, 1, features.shape[1], cells)
    sums: Tensor = (chance.reshape(-1, 1, 4, cells) * cells**-0.5) @ rows.transpose(2, 3)
    return sums


def _per_prompt(x: Tensor, prompts: int) -> Tensor:
    """Repeat images (b, ...) for the prompts (B, ...) of each; a single image broadcasts."""
    if x.shape[0] == 1:
        return x
    return x.repeat_interleave(prompts // x.shape[0], 0)


def column(weight: Tensor) -> Tensor:
    """(4,) numbers, one a mask, as (1, 4, 1, 1)."""
    return weight.view(1, -1, 1, 1)
