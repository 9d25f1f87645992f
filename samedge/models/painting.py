"""Click and distance maps: prompts drawn on the low-res grid, one formulation for every platform.

Clicks are drawn as Gaussians (as in RITM, Sofiiuk et al. 2021, arXiv:2102.06583), a box as its
clipped signed distance and the distance from its centre. All arithmetic on coordinates happens
along one axis at a time: points stand on one axis and grid cells on another, every tensor has four
axes, and what differs by plane (widths, labels, signs) is a constant that broadcasts, so that
nothing is sliced, stacked or expanded. What must be computed in fp32 is then a few thousand numbers
and none of the planes, and a runtime may take it for a graph of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from samedge.models.parted import PointsPart
from samedge.types import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND

CLICK_SIGMAS = (6 / 512, 24 / 512)
"""Widths of the drawn clicks, as fractions of the image: one precise, one that finds the part."""

PRIOR_SIGMAS = (48 / 512, 20 / 512, 48 / 512, 110 / 512)
"""Widths of the blobs that the four masks of a click start from; masks 1 to 3 are SAM's subpart,
part and whole."""

CELLS_CUT = 8.0
"""Distances to a box's edge are cut at so many cells."""

RADIUS_CUT = 4.0
"""Squared distances from a box's centre, in half sides, are cut here."""

_SMALL_FROM, _SMALL_SPAN = 6.0, 4.0


class _Profiles(nn.Module):
    """Gaussians at the points along each axis, one plane a width.

    Args:
        labels: what a point must be to count, by plane.
        sigmas: standard deviation as a fraction of the image, by plane.
    """

    label: Tensor
    scale: Tensor

    def __init__(self, labels: Sequence[int], sigmas: Sequence[float]) -> None:
        super().__init__()
        constant(self, "label", torch.tensor(labels, dtype=torch.float32).view(1, -1, 1, 1))
        scales = [0.5**0.5 / sigma for sigma in sigmas]
        constant(self, "scale", torch.tensor(scales).view(1, -1, 1, 1))

    def forward(self, across: Tensor, down: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 1, N, G) distances and (B, 1, N, 1) labels to two (B, K, N, G).

        The second is 0 for the points that do not count.
        """
        counts = (labels == self.label).to(across.dtype)
        return self._profile(across), self._profile(down) * counts

    def _profile(self, distance: Tensor) -> Tensor:
        cut = (distance * self.scale).clamp(-8.0, 8.0)
        return torch.exp(-(cut * cut))


class _Box(nn.Module):
    """Distances to a box's edges and from its centre, along each axis alone.

    Args:
        image_size: side S of the input, in pixels.
    """

    corners: Tensor
    inwards: Tensor
    halves: Tensor

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size, self.grid = image_size, image_size // 4
        corners = torch.tensor([float(BOX_TOP_LEFT), float(BOX_BOTTOM_RIGHT)])
        constant(self, "corners", corners.view(1, 2, 1, 1))
        constant(self, "inwards", torch.tensor([1.0, -1.0]).view(1, 2, 1, 1) * self.grid)
        constant(self, "halves", torch.tensor([-0.5, 0.5]).view(1, 2, 1, 1))

    def forward(self, coords: Tensor, chosen: Tensor, centres: Tensor) -> tuple[Tensor, ...]:
        """One axis of the box.

        Args:
            coords: (B, 1, N, 1), fractions of the image.
            chosen: (B, 2, N, 1), 1 where a point is the first or the second corner.
            centres: of the cells along this axis, with four axes.

        Returns:
            Cells to the nearer edge, cut at 8; squared distance from the centre in half sides, cut
            at 4; half the side, (B, 1, 1, 1).
        """
        ends = (chosen * coords).sum(2, keepdim=True)  # (B, 2, 1, 1)
        inside = ((centres - ends) * self.inwards).amin(1, keepdim=True)
        half = (ends * self.halves).sum(1, keepdim=True).clamp(min=1 / self.image_size)
        ratio = ((centres - ends.mean(1, keepdim=True)) / half).clamp(-2.0, 2.0)
        return inside.clamp(-CELLS_CUT, CELLS_CUT), ratio * ratio, half


class PromptProfiles(PointsPart):
    """All arithmetic on coordinates: points and boxes to profiles along each axis.

    Args:
        image_size: side S of the padded input, in pixels.
    """

    output_names = (
        *("click_across", "click_down", "prior_across", "prior_down"),
        *("edge_across", "edge_down", "ratio_across", "ratio_down", "box_present", "box_small"),
    )
    columns: Tensor
    rows: Tensor

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size, self.grid = image_size, image_size // 4
        clicks = [FOREGROUND, FOREGROUND, BACKGROUND, BACKGROUND]
        self.clicks = _Profiles(clicks, CLICK_SIGMAS * 2)
        self.priors = _Profiles([FOREGROUND] * len(PRIOR_SIGMAS), PRIOR_SIGMAS)
        self.box = _Box(image_size)
        centres = (torch.arange(self.grid, dtype=torch.float32) + 0.5) / self.grid
        constant(self, "columns", centres.view(1, 1, 1, -1))
        constant(self, "rows", centres.view(1, 1, -1, 1))

    def forward(self, point_coords: Tensor, point_labels: Tensor) -> tuple[Tensor, ...]:
        """Map (B, N, 2) points and (B, N) labels to the tensors of ``output_names``."""
        coords = (point_coords.unsqueeze(1) + 0.5) / self.image_size  # (B, 1, N, 2)
        labels = point_labels.view(point_labels.shape[0], 1, -1, 1)
        x, y = coords[..., :1], coords[..., 1:]
        across, down = self.columns - x, self.columns - y
        chosen = (labels == self.box.corners).to(coords.dtype)
        edge_x, ratio_x, half_x = self.box(x, chosen, self.columns)
        edge_y, ratio_y, half_y = self.box(y, chosen, self.rows)
        present = (labels == BOX_TOP_LEFT).to(coords.dtype).sum(2, keepdim=True).clamp(max=1.0)
        small = (_SMALL_FROM - (half_x + half_y) * (0.5 * self.grid)) * (1 / _SMALL_SPAN)
        small = small.clamp(0.0, 1.0) * present
        blobs = (*self.clicks(across, down, labels), *self.priors(across, down, labels))
        return *blobs, edge_x, edge_y, ratio_x, ratio_y, present, small

    def output_shapes(self, batch: int, count: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the outputs for N points, in order."""
        side = self.grid
        clicks, priors = (batch, 4, count, side), (batch, len(PRIOR_SIGMAS), count, side)
        row, column, flag = (batch, 1, 1, side), (batch, 1, side, 1), (batch, 1, 1, 1)
        return clicks, clicks, priors, priors, row, column, row, column, flag, flag


@dataclasses.dataclass(frozen=True)
class Paint:
    """What a prompt draws; planes are (B, channels, G, G), the last two (B, 1, 1, 1).

    Attributes:
        clicks: foreground clicks in each width, then background clicks; sums are cut at 1.
        priors: foreground clicks in the widths that masks start from.
        edges: cells to the box's edge, positive inside, cut at 8; 0 without a box, like all that
            follow.
        sharp: the same cut at 1.
        radius: squared distance from the box's centre in half sides, cut at 4.
        present: 1 where there is a box.
        small: how few cells the box has, 1 up to half sides of 2, 0 from 6.
    """

    clicks: Tensor
    priors: Tensor
    edges: Tensor
    sharp: Tensor
    radius: Tensor
    present: Tensor
    small: Tensor


def paint(  # the outputs of PromptProfiles, in order
    click_across: Tensor,
    click_down: Tensor,
    prior_across: Tensor,
    prior_down: Tensor,
    edge_across: Tensor,
    edge_down: Tensor,
    ratio_across: Tensor,
    ratio_down: Tensor,
    present: Tensor,
    small: Tensor,
) -> Paint:
    """Draw the planes from the profiles along each axis."""
    edges = torch.minimum(edge_across, edge_down) * present
    return Paint(
        clicks=_blobs(click_across, click_down),
        priors=_blobs(prior_across, prior_down),
        edges=edges,
        sharp=edges.clamp(-1.0, 1.0),
        radius=(ratio_across + ratio_down).clamp(max=RADIUS_CUT) * present,
        present=present,
        small=small,
    )


def _blobs(across: Tensor, down: Tensor) -> Tensor:
    """Sums of Gaussians, cut at 1: (B, K, N, G) profiles to (B, K, G, G).

    A Gaussian is the product of its profiles, so the sum over points is one product of matrices.
    """
    return (down.transpose(2, 3) @ across).clamp(max=1.0)


def constant(module: nn.Module, name: str, value: Tensor) -> None:
    """Give a module a tensor that no checkpoint holds."""
    module.register_buffer(name, value.detach().clone(), persistent=False)
