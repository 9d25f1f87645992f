"""Simulated prompts on the device: boxes, clicks, wrong masks, corrections.

The same prompts as :mod:`samedge.distill.prompts`, drawn without waiting for the host. A region is
looked at through a square window around it, 64 cells wide, in which distances to its edge are
exact. Every prompt has ``SLOTS`` tokens, so that all passes have one shape; a free slot is ignored.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from samedge.distill.resident.views import normal, uniform
from samedge.types import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, IGNORED

SLOTS = 7
_WINDOW = 64


@dataclasses.dataclass(frozen=True)
class PromptPlan:
    """How prompts are drawn.

    Attributes:
        central: share of clicks at the centre of the mask or of the larger error.
        box_noise: standard deviation of a box edge, as a share of the box's side; half of the
            boxes are exact.
        kinds: shares of the prompts that are not one click: a box; a box and a click in it; a box
            and a click beside the mask; two clicks; a click and one beside the mask; an earlier
            mask that is wrong, with a box or a click.
        other_mask: share of the wrong masks that are of another object altogether.
    """

    central: float = 0.6
    box_noise: float = 0.08
    kinds: tuple[float, ...] = (0.6, 0.08, 0.06, 0.1, 0.06, 0.1)
    other_mask: float = 0.2


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Prompts of R rows as the decoder takes them: ``coords`` (R, 7, 2), ``labels`` (R, 7)."""

    coords: Tensor
    labels: Tensor
    mask: Tensor
    has: Tensor


def extents(regions: Tensor) -> tuple[Tensor, Tensor]:
    """Outer edges of (R, H, W) bool regions.

    Returns:
        (R, 4) float32 ``x0, y0, x1, y1``, zeros where empty; (R,) bool, whether there is any.
    """
    found = []
    for axis in (1, 2):
        line = regions.any(axis).to(torch.uint8)
        length = line.shape[1]
        found.append((line.argmax(1), length - line.flip(1).argmax(1)))
    (x0, x1), (y0, y1) = found
    filled = regions.flatten(1).any(1)
    return torch.stack([x0, y0, x1, y1], 1).float() * filled[:, None], filled


def region_points(
    regions: Tensor, central: Tensor, *, generator: torch.Generator, margin: float = 1.0
) -> tuple[Tensor, Tensor]:
    """One point of every region: the furthest from its edge where ``central``, else any.

    Args:
        regions: (R, G, G) bool.
        central: (R,) bool.
        generator: source of the choice.
        margin: width of the window in longer sides of the region.

    Returns:
        (R, 2) float32 xy in cells, where a cell's middle is its index and a half; (R,) bool.
    """
    window, place, filled = windows(regions, margin=margin)
    return _points_of(window, place, central, generator), filled


def windows(
    regions: Tensor, *, margin: float = 1.0, around: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Square windows around regions.

    Returns:
        (R, 64, 64) bool; (R, 2, 64) float32, x and y of the window's columns and rows in cells;
        (R,) bool.
    """
    edges, filled = extents(regions if around is None else around)
    size = regions.shape[-1]
    side = (edges[:, 2:] - edges[:, :2]).amax(1, keepdim=True).clamp(min=2.0) * margin
    middle = (edges[:, :2] + edges[:, 2:]) * 0.5
    steps = (torch.arange(_WINDOW, device=regions.device) + 0.5) / _WINDOW - 0.5
    place = middle[..., None] + side[..., None] * steps
    index = place.floor().long()
    inside = (index >= 0) & (index < size)
    index = index.clamp(0, size - 1)
    row = torch.arange(len(regions), device=regions.device)[:, None, None]
    window = regions[row, index[:, 1, :, None], index[:, 0, None, :]]
    return window & inside[:, 1, :, None] & inside[:, 0, None, :], place, filled


def _points_of(
    window: Tensor, place: Tensor, central: Tensor, generator: torch.Generator
) -> Tensor:
    score = squared_distances(window)
    score = torch.where(central[:, None, None], score, uniform(generator, *window.shape) + 1e-3)
    best = (score * window).flatten(1).argmax(1)
    row = torch.arange(len(window), device=window.device)
    return torch.stack([place[row, 0, best % _WINDOW], place[row, 1, best // _WINDOW]], 1)


def squared_distances(window: Tensor) -> Tensor:
    """Squared Euclidean distance to the nearest cell that is not set; the outside is not.

    Args:
        window: (R, W, W) bool.

    Returns:
        (R, W, W) float32.
    """
    size = window.shape[-1]
    steps = torch.arange(size, device=window.device, dtype=torch.float32)
    left = steps - torch.where(window, -1.0, steps).cummax(2).values
    right = torch.where(window, float(size), steps).flip(2).cummin(2).values.flip(2) - steps
    across = torch.minimum(left, right).square()  # along rows
    gap = (steps[:, None] - steps).square()  # (y, y')
    nearest = (across[:, None] + gap[None, :, :, None]).amin(2)
    border = torch.minimum(steps + 1, size - steps).square()
    return torch.minimum(nearest, border[None, :, None])


def first_prompts(
    masks: Tensor, coverage: Tensor, *, group: int, plan: PromptPlan, generator: torch.Generator
) -> Prompts:
    """The first prompt of every row: of each picture's rows the first half gets boxes and several
    clicks, the second half one click.

    Args:
        masks: (R, S, S) bool.
        coverage: (R, 1, S/2, S/2) float, the masks averaged.
        group: rows of a picture.
        plan: how prompts are drawn.
        generator: source of every choice.
    """
    rows, size = len(masks), masks.shape[-1]
    device = masks.device
    region = solid(coverage)
    central = uniform(generator, rows) < plan.central
    window, place, _ = windows(region)
    first = _points_of(window, place, central, generator)
    second = _points_of(window, place, torch.zeros_like(central), generator)
    beside = _beside(region, generator)
    scale = size / coverage.shape[-1]
    clicks = torch.stack([first, second, beside], 1) * scale - 0.5
    boxes = _boxes(masks, plan, generator).view(rows, 2, 2)
    spare = torch.zeros(rows, SLOTS - 5, 2, device=device)
    coords = torch.cat([boxes, clicks, spare], 1)

    bounds = torch.tensor(plan.kinds, device=device).cumsum(0)
    kind = (uniform(generator, rows, 1) * bounds[-1] > bounds).sum(1)
    single = torch.arange(rows, device=device) % group >= group // 2
    kind = torch.where(single, 6, kind)
    boxed_mask = uniform(generator, rows) < 0.5
    masked = kind == 5
    boxed = (kind <= 2) | (masked & boxed_mask)
    inner = (kind == 1) | (kind == 3) | (kind == 4) | single | (masked & ~boxed_mask)
    use = torch.stack([boxed, boxed, inner, kind == 3, (kind == 2) | (kind == 4)], 1)
    names = [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, FOREGROUND, FOREGROUND, BACKGROUND]
    labels = torch.tensor(names, device=device, dtype=torch.float32).expand(rows, -1)
    labels = torch.where(use, labels, float(IGNORED))
    labels = torch.cat([labels, labels.new_full((rows, SLOTS - 5), float(IGNORED))], 1)
    wrong = _wrong_masks(coverage, group, plan, generator) * masked[:, None, None, None]
    return Prompts(coords, labels, wrong, masked.float())


def solid(coverage: Tensor) -> Tensor:
    """(R, 1, G, G) coverage to (R, G, G) bool that is not empty where the coverage is not."""
    most = coverage.amax((2, 3), keepdim=True)
    return (coverage >= torch.minimum(most * 0.7, most.new_tensor(0.5)).clamp(min=1e-3))[:, 0]


def _beside(region: Tensor, generator: torch.Generator) -> Tensor:
    """A point near a region but not in it, in cells."""
    window, place, _ = windows(~region, margin=1.5, around=region)
    return _points_of(
        window, place, torch.zeros(len(region), device=region.device).bool(), generator
    )


def _boxes(masks: Tensor, plan: PromptPlan, generator: torch.Generator) -> Tensor:
    boxes, _ = extents(masks)
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = normal(generator, len(boxes), 4, std=plan.box_noise)
    noise = noise * (uniform(generator, len(boxes), 1) < 0.5)
    moved = (boxes + (noise * sides).clamp(-10, 10)).clamp(0, masks.shape[-1])
    inverted = (moved[:, 2:] - moved[:, :2] < 2).any(1, keepdim=True)
    return torch.where(inverted, boxes, moved)


def _wrong_masks(
    coverage: Tensor, group: int, plan: PromptPlan, generator: torch.Generator
) -> Tensor:
    """Logits of masks that are shifted, scaled, or another row's; (R, 1, S/4, S/4)."""
    rows = len(coverage)
    small = F.avg_pool2d(coverage.float(), 2)
    swapped = uniform(generator, rows, 1, 1, 1) < plan.other_mask
    other = small.view(-1, group, *small.shape[1:]).roll(1, 1).flatten(0, 1)
    small = torch.where(swapped, other, small)
    root = small.mean((1, 2, 3)).sqrt()
    scale = torch.exp(normal(generator, rows, 2, std=0.12))
    shift = normal(generator, rows, 2) * (root[:, None] * 0.3)
    theta = torch.diag_embed(scale)
    theta = torch.cat([theta, shift[..., None]], 2)
    grid = F.affine_grid(theta, list(small.shape), align_corners=False)
    moved = F.grid_sample(small, grid, align_corners=False)
    return (moved * 2 - 1) * uniform(generator, rows, 1, 1, 1, low=3.0, high=8.0)


def correct(
    prompts: Prompts,
    logits: Tensor,
    *,
    fine: Tensor,
    coverage: Tensor,
    inside: Tensor,
    slot: int,
    plan: PromptPlan,
    generator: torch.Generator,
    scale: float,
) -> Prompts:
    """One more click where the prediction errs most, and its logits as mask prompt.

    Args:
        prompts: the last prompts.
        logits: (R, 1, S/4, S/4), what they gave.
        fine: (R, 1, S/2, S/2), the same, upsampled.
        coverage: (R, 1, S/2, S/2).
        inside: (R, 1, S/2, S/2), 1 where there is picture.
        slot: which token to write to.
        plan: ``central``.
        generator: source of every choice.
        scale: pixels a cell.
    """
    truth, guess = solid(coverage), (fine[:, 0] > 0) & (inside[:, 0] > 0.5)
    missed, excess = truth & ~guess, guess & ~truth
    more = missed.flatten(1).sum(1) >= excess.flatten(1).sum(1)
    larger = torch.where(more[:, None, None], missed, excess)
    central = uniform(generator, len(truth)) < plan.central
    points, filled = region_points(larger, central, generator=generator)
    label = torch.where(more, float(FOREGROUND), float(BACKGROUND))
    label = torch.where(filled, label, float(IGNORED))
    coords, labels = prompts.coords.clone(), prompts.labels.clone()
    coords[:, slot], labels[:, slot] = points * scale - 0.5, label
    before = logits.detach().float().contiguous()  # one layout in every pass: compiled once
    return Prompts(coords, labels, before, torch.ones_like(prompts.has))
