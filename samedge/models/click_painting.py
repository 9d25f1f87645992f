"""Prompts painted as maps: clicks as Gaussians, boxes as distances, on a grid of any stride.

Clicks as Gaussians are those of RITM (Sofiiuk et al. 2021). Coordinates are fractions of the image,
so that no value leaves the range of fp16.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from samedge.types import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND

CLICK_SIGMAS = (6 / 512, 24 / 512)
"""Widths of the painted clicks, as fractions of the image: one precise, one that finds the part."""

PRIOR_SIGMAS = (48 / 512, 20 / 512, 48 / 512, 110 / 512)
"""Widths of the blobs that the four masks of a click start from; masks 1 to 3 are SAM's subpart,
part and whole."""


class Painting(NamedTuple):
    """A prompt on one grid of G x G cells.

    Attributes:
        clicks: (B, 4, G, G), foreground then background, each precise then wide; 0 to 1.
        box: (B, 3, G, G): signed distance to the edge, cut at 32 px and divided by it; the same
            cut at 4 px; squared distance from the centre in half sides, cut at 4, divided by 4.
        offset: (B, 2, G, G), distance from the box's centre in half sides, cut at 2 and halved.
        present: (B, 1, 1, 1), 1 where there is a box.
        small: (B, 1, 1, 1), how small the box is: 1 up to half sides of 8 px, 0 from 24 px.
    """

    clicks: Tensor
    box: Tensor
    offset: Tensor
    present: Tensor
    small: Tensor


class ClickPainter(nn.Module):
    """Paints points and boxes on a grid.

    Args:
        image_size: side S of the padded input, in pixels.
        stride: pixels a cell.
    """

    def __init__(self, image_size: int, stride: int) -> None:
        super().__init__()
        self.image_size, self.stride = image_size, stride
        cells = image_size // stride
        centres = (torch.arange(cells, dtype=torch.float32) + 0.5) / cells
        self.register_buffer("centres", centres, persistent=False)
        self.centres: Tensor

    def forward(self, coords: Tensor, labels: Tensor) -> Painting:
        """Paint prompts: coords (B, N, 2) as fractions of the image, labels (B, N)."""
        clicks = [
            self.blob(coords, (labels == kind).to(coords.dtype), sigma)
            for kind in (FOREGROUND, BACKGROUND)
            for sigma in CLICK_SIGMAS
        ]
        return Painting(torch.cat(clicks, 1), *self.box(coords, labels))

    def blob(self, coords: Tensor, weights: Tensor, sigma: float) -> Tensor:
        """Sum of Gaussians, cut at 1.

        Args:
            coords: (B, N, 2), xy as fractions of the image.
            weights: (B, N), what each point counts.
            sigma: standard deviation, as a fraction of the image.

        Returns:
            (B, 1, G, G) in 0 to 1.
        """
        # A Gaussian is the product of its profiles, so the sum over points is one matrix product.
        offset = (self.centres - coords.unsqueeze(-1)) * (0.5**0.5 / sigma)  # (B, N, 2, G)
        profile = torch.exp(-(offset.clamp(-8.0, 8.0) ** 2))
        across, down = profile[:, :, 0], profile[:, :, 1] * weights.unsqueeze(-1)
        return (down.transpose(1, 2) @ across).clamp(max=1.0).unsqueeze(1)

    def box(self, coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Maps of the box: ``box``, ``offset``, ``present`` and ``small`` of :class:`Painting`."""
        first = (labels == BOX_TOP_LEFT).to(coords.dtype)
        last = (labels == BOX_BOTTOM_RIGHT).to(coords.dtype)
        low = (first.unsqueeze(-1) * coords).sum(1).unsqueeze(-1)  # (B, 2, 1)
        high = (last.unsqueeze(-1) * coords).sum(1).unsqueeze(-1)
        present = first.sum(1).clamp(max=1.0).view(-1, 1, 1, 1)
        inside = torch.minimum(self.centres - low, high - self.centres) * (self.image_size / 4)
        distance = torch.minimum(inside[:, 0].unsqueeze(1), inside[:, 1].unsqueeze(2)).unsqueeze(1)
        # A box that falls between two cells still has to touch one.
        half = (high - low) * 0.5
        reach = half.clamp(min=0.6 * self.stride / self.image_size)
        ratio = ((self.centres - (low + high) * 0.5) / reach).clamp(-2.0, 2.0)
        square = ratio**2
        radius = (square[:, 0].unsqueeze(1) + square[:, 1].unsqueeze(2)).unsqueeze(1)
        maps = torch.cat(
            [
                distance.clamp(-8.0, 8.0) * 0.125,
                distance.clamp(-1.0, 1.0),
                radius.clamp(max=4.0) * 0.25,
            ],
            1,
        )
        flat = torch.zeros_like(distance)
        across, down = ratio[:, 0].unsqueeze(1).unsqueeze(1), ratio[:, 1].unsqueeze(1).unsqueeze(-1)
        offset = torch.cat([flat + across, flat + down], 1)
        cells = half.mean(1, keepdim=True).unsqueeze(-1) * (self.image_size / 4)
        small = ((6.0 - cells) * 0.25).clamp(0.0, 1.0) * present
        return maps * present, offset * 0.5 * present, present, small


def evidence_of(sketch: Painting, before: Tensor) -> Tensor:
    """Weights of the kinds of evidence at stride 8, (B, 4, S/8, S/8)."""
    inside = (1.0 - sketch.box[:, 2:3] * 4.0).clamp(0.0, 1.0) * sketch.present
    outside = (sketch.box[:, 2:3] * 4.0 - 1.5).clamp(0.0, 1.0) * sketch.present
    known = torch.sigmoid(before) - 0.5  # positive inside an earlier mask, 0 without one
    clicks = sketch.clicks
    return torch.cat([clicks[:, 0:1] + known.clamp(min=0.0), clicks[:, 2:3], inside, outside], 1)


def objects_of(drawing: Painting) -> Tensor:
    """What speaks for the object and against it at stride 4, (B, 2, S/4, S/4)."""
    clicks, radius = drawing.clicks, drawing.box[:, 2:3] * 4.0
    inside = (1.0 - radius).clamp(0.0, 1.0) * drawing.present
    outside = (radius - 1.5).clamp(0.0, 1.0) * drawing.present
    return torch.cat([clicks[:, 0:1] + inside, clicks[:, 2:3] + outside], 1)
