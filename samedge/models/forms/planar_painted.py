"""The click-map decoder as the Neural Engine wants it: the same numbers, no planes moved about.

Taking planes apart and putting them together again costs the Neural Engine a copy each time: a
quarter of the plain decoder's operations only move data there. Here channels are picked and added
by 1x1 convolutions, which follow anyway. All of it is exact; only the order of a few sums differs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.painted import PaintedDecoder
from samedge.models.painted_trunk import (
    EARLIER_SCALE,
    PLANES,
    POOL,
    POOLED_PROMPTS,
    Drawing,
    PaintedTrunk,
    column,
    evidence,
)
from samedge.models.painting import CELLS_CUT, CLICK_SIGMAS, RADIUS_CUT, Paint, constant

_NEAR, _FAR = 0, len(CLICK_SIGMAS)
_EDGES, _SHARP, _RADIUS, _EARLIER = 4, 5, 6, 8
"""Places of the drawn planes: the precise clicks, maps of the box, the earlier mask."""


class PlanarPaintedDecoder(PaintedTrunk):
    """A painted decoder, equal to ``PaintedDecoder`` up to rounding, for one image.

    Args:
        decoder: where the weights come from; it stays as it is.
    """

    def __init__(self, decoder: PaintedDecoder) -> None:
        super().__init__(decoder.image_size, decoder.config)
        self.image_coarse, self.image_middle = decoder.image_coarse, decoder.image_middle
        self.image_fine, self.image_keys = decoder.image_fine, decoder.image_keys
        self.paint_middle, self.paint_coarse = decoder.paint_middle, decoder.paint_coarse
        self.match, self.blocks = decoder.match, decoder.blocks
        self.up_middle, self.middle = decoder.up_middle, decoder.middle
        self.middle_norm, self.up_fine = decoder.middle_norm, decoder.up_fine
        self.fine, self.masks = decoder.fine, decoder.masks
        self.radius_weight, self.small_weight = decoder.radius_weight, decoder.small_weight
        self.click_weight, self.click_bias = decoder.click_weight, decoder.click_bias
        self.paint_fine = _scaled_inputs(decoder.paint_fine)
        self.prompt_pool = _prompt_pool()
        self.box_edges, self.seen = _box_edges(decoder), _seen(decoder)
        self.quality = _Quality(decoder)

    def _planes(self, painted: Paint, earlier: Tensor, has: Tensor) -> Tensor:
        flags = [self.plane * painted.present, earlier, self.plane * has]
        return torch.cat([painted.clicks, painted.edges, painted.sharp, painted.radius, *flags], 1)

    def _pooled(self, clicks: Tensor, known: Tensor, inside: Tensor, ring: Tensor) -> Tensor:
        pooled: Tensor = self.prompt_pool(torch.cat([clicks, known, inside, ring], 1))
        return pooled

    def _near_edges(self, drawing: Drawing) -> Tensor:
        edges: Tensor = self.box_edges(drawing.planes)
        drawn = drawing.paint
        return edges + drawn.sharp * (drawn.small * column(self.small_weight))

    def _with_seen(self, start: Tensor, drawing: Drawing) -> Tensor:
        seen: Tensor = self.seen(drawing.planes)
        return start + seen

    def _iou(self, logits: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        quality: Tensor = self.quality(*evidence(logits, fine, coarse))
        return quality


class _Quality(nn.Module):
    """Each mask's IoU; the first product of the plain module's features, part by part."""

    root_weight: Tensor
    sure_weight: Tensor
    surer_weight: Tensor
    code: Tensor

    def __init__(self, decoder: PaintedDecoder) -> None:
        super().__init__()
        first, _, last = decoder.quality
        assert isinstance(first, nn.Linear)
        config = decoder.config
        widths = [config.fine, config.coarse, 1, 1, 1, 4]
        parts = torch.split(first.weight.detach(), widths, dim=1)
        self.under, self.below = _product(parts[0]), _product(parts[1])
        for name, part in zip(("root", "sure", "surer"), parts[2:5], strict=True):
            constant(self, f"{name}_weight", part.reshape(1, 1, 1, -1))
        constant(self, "code", (parts[5].t() + first.bias.detach()).view(1, 1, 4, -1))
        self.last = last

    def forward(
        self, under: Tensor, below: Tensor, root: Tensor, sure: Tensor, surer: Tensor
    ) -> Tensor:
        """Map what :func:`evidence` returns to (B, 4)."""
        hidden = self.under(under) + self.code
        hidden = hidden + self.below(below)
        hidden = hidden + root * self.root_weight + sure * self.sure_weight
        quality: Tensor = self.last(F.relu(hidden + surer * self.surer_weight))
        return torch.sigmoid(quality).view(-1, 4)


def _box_edges(decoder: PaintedDecoder) -> nn.Conv2d:
    weight = torch.zeros(4, PLANES, 1, 1)
    weight[:, _EDGES, 0, 0] = decoder.box_weight.detach() / CELLS_CUT
    weight[:, _SHARP, 0, 0] = decoder.edge_weight.detach()
    return _convolution(weight)


def _seen(decoder: PaintedDecoder) -> nn.Conv2d:
    weight = torch.zeros(4, PLANES, 1, 1)
    weight[:, _NEAR, 0, 0] = decoder.touch_weight.detach()
    weight[:, _FAR, 0, 0] = -decoder.touch_weight.detach()
    weight[:, _EARLIER, 0, 0] = decoder.mask_weight.detach()
    return _convolution(weight)


def _convolution(weight: Tensor, *, stride: int = 1) -> nn.Conv2d:
    out_channels, channels, kernel, _ = weight.shape
    conv = nn.Conv2d(channels, out_channels, kernel, stride=stride, bias=False)
    conv.requires_grad_(requires_grad=False)
    conv.weight.copy_(weight)
    return conv


def _product(weight: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.requires_grad_(requires_grad=False)
    linear.weight.copy_(weight)
    return linear


def _scaled_inputs(conv: nn.Conv2d) -> nn.Conv2d:
    """The first convolution for planes that were not scaled; factors are powers of two."""
    assert conv.bias is not None
    own = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1)
    own.requires_grad_(requires_grad=False)
    own.weight.copy_(conv.weight.detach())
    own.bias.copy_(conv.bias.detach())  # type: ignore[union-attr]
    factors = (_EDGES, 1 / CELLS_CUT), (_RADIUS, 1 / RADIUS_CUT), (_EARLIER, EARLIER_SCALE)
    for channel, factor in factors:
        own.weight[:, channel] *= factor
    return own


def _prompt_pool() -> nn.Conv2d:
    """Picks the planes that appearance is pooled under, and averages them over embedding cells.

    Inputs are the four click planes, the earlier mask, the inside of the box and the ring around
    it; outputs the near foreground clicks with the earlier mask, the background clicks, and the two
    of the box.
    """
    weight = torch.zeros(POOLED_PROMPTS, 7, POOL, POOL)
    for out, channel in ((0, _NEAR), (0, 4), (1, _FAR), (2, 5), (3, 6)):
        weight[out, channel] = POOL**-2
    return _convolution(weight, stride=POOL)
