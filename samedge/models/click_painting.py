"""Prompts painted as maps: clicks as Gaussians, boxes as distances, on two grids.

Clicks as Gaussians are those of RITM (Sofiiuk et al. 2021). Coordinates are fractions of the image,
so that no value leaves the range of fp16. What can be is computed along the axes, for both grids at
once, and spread over the cells last: a runtime spends more on a step than on its few numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from samedge.types import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND

FINE, MIDDLE = 4, 8
"""Strides of the grids, in pixels of the input."""

CLICK_SIGMAS = (6 / 512, 24 / 512)
"""Widths of the painted clicks, as fractions of the image: one precise, one that finds the part."""

PRIOR_SIGMAS = (48 / 512, 20 / 512, 48 / 512, 110 / 512)
"""Widths of the blobs that the four masks of a click start from; masks 1 to 3 are SAM's subpart,
part and whole."""

_MIDDLE_BLOBS = [(kind, sigma) for kind in (FOREGROUND, BACKGROUND) for sigma in CLICK_SIGMAS]
_FINE_BLOBS = [(kind, CLICK_SIGMAS[0]) for kind in (FOREGROUND, BACKGROUND)]
_FINE_BLOBS += [(FOREGROUND, sigma) for sigma in PRIOR_SIGMAS]
_CORNERS = (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT)


class Grid(NamedTuple):
    """A prompt on one grid of G x G cells.

    Attributes:
        blobs: (B, K, G, G), 0 to 1. At stride 8 clicks, foreground then background, each precise
            then wide; at stride 4 precise clicks, foreground and background, and the four blobs
            of foreground that masks start from.
        distance: (B, 2, G, G): signed distance to the box's edge, cut at 32 px and divided by it;
            the same cut at 4 px.
        radius: (B, 1, G, G): squared distance from the box's centre in half sides, cut at 4,
            divided by 4.
    """

    blobs: Tensor
    distance: Tensor
    radius: Tensor


class Painting(NamedTuple):
    """A prompt, painted.

    Attributes:
        middle, fine: at strides 8 and 4.
        offset: (B, 2, S/8, S/8), xy distance from the box's centre in half sides, cut at 2, halved.
        present: (B, 1, 1, 1), 1 where there is a box; without one all of its maps are 0.
        small: (B, 1, 1, 1), how small the box is: 1 up to half sides of 8 px, 0 from 24 px.
    """

    middle: Grid
    fine: Grid
    offset: Tensor
    present: Tensor
    small: Tensor


class ClickPainter(nn.Module):
    """Paints points and boxes.

    Args:
        image_size: side S of the padded input, in pixels.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.sides = [image_size // MIDDLE, image_size // FINE]
        self.middle = _Blobs(_MIDDLE_BLOBS, self.sides[0])
        self.fine = _Blobs(_FINE_BLOBS, self.sides[1])
        kinds = [kind for kind, _ in _MIDDLE_BLOBS + _FINE_BLOBS] + list(_CORNERS)
        self.counts = [len(_MIDDLE_BLOBS), len(_FINE_BLOBS), len(_CORNERS)]
        # A box that falls between two cells still has to touch one.
        reach = [torch.full((g,), 0.6 / g) for g in self.sides]
        constants = {
            "kinds": torch.tensor([float(kind) for kind in kinds]).view(1, -1, 1),
            "centres": torch.cat([_centres(g) for g in self.sides]),
            "reach": torch.cat(reach),
            "cuts": torch.tensor([[0.125], [1.0]]),
            "spread": torch.zeros(self.sides[0]),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self.kinds: Tensor
        self.centres: Tensor
        self.reach: Tensor
        self.cuts: Tensor
        self.spread: Tensor

    def forward(self, coords: Tensor, labels: Tensor) -> Painting:
        """Paint prompts: coords (B, N, 2) as fractions of the image, labels (B, N)."""
        xy = coords.transpose(1, 2)
        code = (labels.unsqueeze(1) == self.kinds).to(coords.dtype)  # (B, K, N)
        near, finest, corners = torch.split(code, self.counts, 1)
        (x, y), present, small = self._box(xy, corners)
        side = self.sides[0]
        middle, across, down = _grid(self.middle(xy, near), x[..., :side], y[:, :, :side])
        fine, _, _ = _grid(self.fine(xy, finest), x[..., side:], y[:, :, side:])
        offset = torch.cat([across + self.spread.unsqueeze(1), down + self.spread], 1)
        return Painting(middle, fine, offset, present, small)

    def _box(self, xy: Tensor, corners: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
        """Along each axis, on both grids: distance, its cut, squared offset and offset.

        Args:
            xy: (B, 2, N), fractions of the image.
            corners: (B, 2, N), 1 where a point is the box's first or last corner.

        Returns:
            (B, 4, 1, 192) for x and (B, 4, 192, 1) for y, where S is 512; then ``present`` and
            ``small``.
        """
        present = corners[:, :1].amax(2, keepdim=True)
        ends = (xy.unsqueeze(2) * corners.unsqueeze(1)).sum(3)
        low, high = torch.split(ends, 1, 2)  # (B, 2, 1)
        above, below = self.centres - low, high - self.centres  # (B, 2, 192)
        half = (high - low) * 0.5
        offset = (above - below) * 0.25 / torch.maximum(half, self.reach)
        offset = offset.clamp(-1.0, 1.0) * present
        inside = torch.minimum(above, below) * (self.image_size / 4)
        distance = (inside.unsqueeze(2) * self.cuts).clamp(-1.0, 1.0) * present.unsqueeze(3)
        rows = [distance, (offset * offset).unsqueeze(2), offset.unsqueeze(2)]
        x, y = torch.split(torch.cat(rows, 2), 1, 1)
        count = sum(self.sides)
        cells = half.mean(1, keepdim=True) * (self.image_size / 16)
        small = (1.5 - cells).clamp(0.0, 1.0) * present
        lines = x.reshape(-1, 4, 1, count), y.reshape(-1, 4, count, 1)
        return lines, present.unsqueeze(3), small.unsqueeze(3)


class _Blobs(nn.Module):
    """Sums of Gaussians, cut at 1.

    Args:
        kinds: label and standard deviation, as a fraction of the image, of each map.
        side: cells of the grid.
    """

    def __init__(self, kinds: list[tuple[int, float]], side: int) -> None:
        super().__init__()
        count = len(kinds)
        scale = torch.tensor([0.5**0.5 / sigma for _, sigma in kinds])
        self.register_buffer("axes", torch.arange(2).repeat_interleave(count), persistent=False)
        self.register_buffer("scale", scale.repeat(2).view(-1, 1, 1), persistent=False)
        self.register_buffer("centres", _centres(side), persistent=False)
        self.count = count
        self.axes: Tensor
        self.scale: Tensor
        self.centres: Tensor

    def forward(self, xy: Tensor, weights: Tensor) -> Tensor:
        """Paint K maps: xy (B, 2, N), weights (B, K, N); (B, K, G, G) in 0 to 1."""
        # A Gaussian is the product of its profiles, so the sum over points is one matrix product.
        places = xy.index_select(1, self.axes).unsqueeze(3)  # (B, 2 K, N, 1)
        offset = ((self.centres - places) * self.scale).clamp(-8.0, 8.0)
        across, down = torch.split(torch.exp(-(offset * offset)), self.count, 1)
        blobs: Tensor = (down * weights.unsqueeze(3)).transpose(2, 3) @ across
        return blobs.clamp(max=1.0)


def sides_of(grid: Grid, present: Tensor) -> Tensor:
    """What a box says of its inside and its outside, (B, 2, G, G) in 0 to 1."""
    radius = grid.radius * 4.0
    return torch.cat([(present - radius).clamp(min=0.0), (radius - 1.5).clamp(0.0, 1.0)], 1)


def evidence_of(painting: Painting, before: Tensor) -> Tensor:
    """Weights of the kinds of evidence at stride 8, (B, 4, S/8, S/8)."""
    known = torch.sigmoid(before) - 0.5  # positive inside an earlier mask, 0 without one
    clicks = painting.middle.blobs
    maps = [clicks[:, 0:1] + known.clamp(min=0.0), clicks[:, 2:3]]
    return torch.cat([*maps, sides_of(painting.middle, painting.present)], 1)


def objects_of(painting: Painting) -> Tensor:
    """What speaks for the object and against it at stride 4, (B, 2, S/4, S/4)."""
    return painting.fine.blobs[:, :2] + sides_of(painting.fine, painting.present)


def _centres(cells: int) -> Tensor:
    return (torch.arange(cells, dtype=torch.float32) + 0.5) / cells


def _grid(blobs: Tensor, x: Tensor, y: Tensor) -> tuple[Grid, Tensor, Tensor]:
    """The maps of one grid from what stands along its axes, and the offsets along them."""
    (distance_x, radius_x, across), (distance_y, radius_y, down) = (
        torch.split(lines, [2, 1, 1], 1) for lines in (x, y)
    )
    distance = torch.minimum(distance_x, distance_y)
    return Grid(blobs, distance, (radius_x + radius_y).clamp(max=1.0)), across, down
