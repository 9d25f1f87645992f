"""A decoder of 0.2 GFLOP a prompt: prompts painted as maps, and weights made for the prompt.

Clicks are painted as Gaussians (RITM, Sofiiuk et al. 2021), a box as its clipped signed distance,
at stride 8. A small body at stride 16 sees them beside the image and beside the similarity of every
position with what lies under the prompt (feature matching as in FEELVOS, Voigtlaender et al. 2019).
At stride 4, where cells are many, only few channels are left: the image's own map there, a hint
from below, and two layers of 1x1 convolutions whose weights are computed for this prompt, as SAM's
hypernetworks (Kirillov et al. 2023) and CondInst (Tian et al. 2020) do it. The painting itself, as
a prior, is added to the logits at stride 4, so the network only has to say where it errs.

Tensors in and out are SAM's, and two maps of the image more. Everything is convolution, matrix
product and plain arithmetic on fixed grids; coordinates are divided by the image size first, so no
intermediate value leaves the range of fp16.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.click_painting import ClickPainter, Painting, evidence_of, objects_of
from samedge.models.click_parts import (
    KINDS,
    TOKENS,
    Block,
    ClickConfig,
    ConvOfTwo,
    Prior,
    PromptWeights,
    Quality,
    add_image,
    click_maps,
    light,
    likeness,
    pooled,
    pooled_own,
)
from samedge.models.promptable import PromptableModel

_PAINTED = 12
"""Maps of a painted prompt: four of clicks, five and one of the box, two of an earlier mask."""

__all__ = ["ClickConfig", "ClickDecoder", "ClickSam", "doubled", "doubling"]


class ClickDecoder(nn.Module):
    """Prompts and the maps of an image to four masks, with SAM's tensors in and out.

    Args:
        image_size: side S of the padded input, in pixels; a multiple of 16.
        config: widths.
    """

    def __init__(self, image_size: int, config: ClickConfig | None = None) -> None:
        super().__init__()
        c = self.config = config or ClickConfig()
        self.image_size = image_size
        self.paint = ClickPainter(image_size)
        self.sides = [image_size // stride for stride in (4, 8, 16)]
        self.painted = nn.Conv2d(_PAINTED, c.paint, 3, padding=1)
        self.painted_coarse = nn.Conv2d(c.paint, c.coarse, 2, stride=2)
        self.painted_middle = ConvOfTwo(c.paint, KINDS, c.middle)
        self.match = nn.Conv2d(KINDS * c.heads, c.coarse, 1)
        self.blocks = nn.Sequential(*(Block(c.coarse, c.expanded) for _ in range(c.blocks)))
        self.up_middle = nn.Conv2d(c.coarse, c.middle, 1)
        self.middle = Block(c.middle, 2 * c.middle, 5)
        self.middle_masks = nn.Conv2d(c.middle, TOKENS, 1)
        self.up_fine = nn.Conv2d(c.middle, c.fine, 1)
        self.fine = nn.Conv2d(c.fine, c.fine, 3, padding=1, groups=c.fine)
        self.weights = PromptWeights(c)
        self.prior = Prior()
        self.quality = Quality(c, image_size)
        ones = torch.ones(1, 1, self.sides[1], self.sides[1])
        self.register_buffer("ones", ones, persistent=False)
        self.ones: Tensor
        self.register_buffer("doubling", doubling(image_size // 8), persistent=False)
        self.doubling: Tensor
        nn.init.zeros_(self.middle_masks.weight)
        nn.init.zeros_(self.middle_masks.bias)  # type: ignore[arg-type]

    def forward(
        self,
        image_embeddings: Tensor,
        high_res_features_4: Tensor,
        high_res_features_8: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts.

        Args:
            image_embeddings: (b, 256, S/16, S/16), b = 1, or B a multiple of b and the prompts of
                one image side by side.
            high_res_features_4: (b, 16, S/4, S/4).
            high_res_features_8: (b, 24, S/8, S/8).
            point_coords: (B, N, 2), xy pixels of the S x S input.
            point_labels: (B, N), as in :mod:`samedge.types`; negative labels paint nothing.
            mask_input: (B, 1, S/4, S/4), low-res logits of an earlier mask.
            has_mask_input: (B,), 1 where ``mask_input`` counts.

        Returns:
            low_res_masks (B, 4, S/4, S/4) and iou_predictions (B, 4).
        """
        c = self.config
        has = has_mask_input.reshape(-1, 1, 1, 1)
        earlier = mask_input.clamp(-8.0, 8.0) * has
        before = F.avg_pool2d(earlier, 2)
        painting = self.paint((point_coords + 0.5) / self.image_size, point_labels)
        painted = self._painted(painting, before, has)

        evidence = evidence_of(painting, before)
        middle_evidence = self._rows(light(evidence, self.sides[1] ** 2), 1)
        evidence = self._rows(light(F.avg_pool2d(evidence, 2), self.sides[2] ** 2), 2)
        under = evidence, evidence.sum(2, keepdim=True)
        sizes = [c.coarse, c.heads * c.head_dim, c.values]
        added, keys, values = torch.split(image_embeddings, sizes, 1)
        coarse = self._coarse(painted, under, added, keys)
        middle = self._middle(painted, middle_evidence, coarse, high_res_features_8)
        fine = F.relu(add_image(self._double(self.up_fine(middle)), high_res_features_4))
        fine = self._rows(fine + F.relu(self.fine(fine)), 0)

        objects = self._rows(objects_of(painting), 0)
        light_objects = light(objects, self.sides[0] ** 2)
        totals = light_objects.sum(2, keepdim=True)
        coarse = self._rows(coarse, 2)
        gathered = [
            pooled(*under, self._rows(values, 2)).flatten(1),
            pooled_own(*under, coarse).flatten(1),
            pooled(light_objects, totals, self._rows(high_res_features_4, 0)).flatten(1),
            coarse.mean(2),
            torch.cat([painting.present, painting.small, has], 1).flatten(1),
        ]
        start, bias = self.prior(
            painting, earlier=earlier, has=has.flatten(1), cells=self.sides[0] ** 2
        )
        logits = self.weights(torch.cat(gathered, 1), fine, bias) + start
        # As rows: OpenVINO lays sums of maps with four channels out so that all after it is slow.
        logits = logits + self._rows(self._double(self.middle_masks(middle)), 0)
        logits = logits.reshape(-1, TOKENS, self.sides[0], self.sides[0])
        quality: Tensor = self.quality(
            logits, fine, self._rows(middle, 1), coarse, (objects, totals)
        )
        return logits, quality

    def _rows(self, maps: Tensor, level: int) -> Tensor:
        """(B, C, G, G) of the fine, middle or coarse grid to (B, C, G * G)."""
        return maps.reshape(-1, maps.shape[1], self.sides[level] ** 2)

    def _double(self, x: Tensor) -> Tensor:
        """Twice the size, bilinear; while training as products, whose gradients are quicker."""
        if self.training:
            return doubled(x, self.doubling)
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)

    def _painted(self, painting: Painting, before: Tensor, has: Tensor) -> Tensor:
        """The painted prompt at stride 8, (B, paint, S/8, S/8)."""
        maps = [*painting.middle, painting.offset]
        maps += [self.ones * painting.present, before * 0.25, self.ones * has]
        # Channels last halves the time of these convolutions on a CPU; exporters do not see it.
        stacked = torch.cat(maps, 1).contiguous(memory_format=torch.channels_last)
        return F.relu(self.painted(stacked))

    def _coarse(
        self, painted: Tensor, under: tuple[Tensor, Tensor], added: Tensor, keys: Tensor
    ) -> Tensor:
        """Image, prompt and likeness at stride 16, through the body."""
        side, keys = self.sides[2], self._rows(keys, 2)
        alike = likeness(pooled(*under, keys), keys, self.config.heads)
        alike = alike.reshape(-1, KINDS * self.config.heads, side, side)
        x = add_image(self.painted_coarse(painted) + self.match(alike), added)
        out: Tensor = self.blocks(x)
        return F.relu(out)

    def _middle(self, painted: Tensor, evidence: Tensor, coarse: Tensor, image: Tensor) -> Tensor:
        side, keys = self.sides[1], self._rows(image, 1)
        alike = likeness(pooled(evidence, evidence.sum(2, keepdim=True), keys), keys, 1)
        alike = alike.reshape(-1, KINDS, side, side)
        x = self.painted_middle(painted, alike)
        x = x + F.interpolate(self.up_middle(coarse), scale_factor=2.0, mode="nearest")
        out: Tensor = self.middle(F.relu(add_image(x, image)))
        return F.relu(out)


class ClickSam(PromptableModel):
    """An image encoder that gives three maps under the click decoder."""

    decoder_name = "click"

    def __init__(self, image_encoder: nn.Module, decoder: ClickDecoder) -> None:
        super().__init__(image_encoder, decoder.image_size, maps=click_maps(decoder.config))
        self.decoder = decoder

    def decode(self, *_: Tensor) -> tuple[Tensor, Tensor]:
        """Refused: one map alone is not enough for this decoder.

        Raises:
            TypeError: always; ``decode_embedded`` takes all maps of ``embed``.
        """
        raise TypeError("The click decoder needs all three maps: call decode_embedded.")

    def decode_embedded(
        self, tensors: Mapping[str, Tensor], *prompts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`PromptableModel.decode_embedded`; B may be a multiple of the images."""
        maps = [tensors[each.name] for each in click_maps(self.decoder.config)]
        result: tuple[Tensor, Tensor] = self.decoder(*maps, *prompts)
        return result


def doubling(side: int) -> Tensor:
    """The (2 * side, side) matrix that doubles a row as bilinear interpolation does."""
    matrix = torch.zeros(2 * side, side)
    cells = torch.arange(side)
    matrix[2 * cells, cells] += 0.75
    matrix[2 * cells, (cells - 1).clamp(min=0)] += 0.25
    matrix[2 * cells + 1, cells] += 0.75
    matrix[2 * cells + 1, (cells + 1).clamp(max=side - 1)] += 0.25
    return matrix


def doubled(x: Tensor, matrix: Tensor) -> Tensor:
    """(B, C, G, G) to (B, C, 2 * G, 2 * G), bilinear, by two products with ``doubling(G)``."""
    return matrix @ (x @ matrix.T)
