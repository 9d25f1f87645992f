"""Which part of which photo a step looks at: plain photos, zooms, second looks, mosaics.

A *view* is a rectangle of a photo that is drawn into a rectangle of a picture of the batch. Single
views fill a picture as the runtime would, longest side S at the top left; the four views of a
mosaic fill a quarter each, which shows their objects half as large. All geometry is tensors of the
device, one row a view, and no step waits for the host.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from samedge.distill.resident.store import SIDE, Store


@dataclasses.dataclass(frozen=True)
class ViewPlan:
    """How views are drawn.

    Attributes:
        pictures: of a batch.
        mosaics: of these, how many are mosaics of four.
        masks: prompted masks a picture; even.
        full_share: of single views: the whole photo, half of them slightly trimmed.
        focus_share: of single views: a square around one mask, as the second look takes it.
        focus: least and largest side of that square, in longer sides of the mask's box.
        zoom: least and largest side of the other single views, in longest sides of the photo.
        turned: share of single views that are rotated a little.
    """

    pictures: int = 64
    mosaics: int = 12
    masks: int = 6
    full_share: float = 0.42
    focus_share: float = 0.3
    focus: tuple[float, float] = (1.6, 6.0)
    zoom: tuple[float, float] = (0.35, 0.9)
    turned: float = 0.15

    @property
    def singles(self) -> int:
        """Pictures that show one view."""
        return self.pictures - self.mosaics

    @property
    def views(self) -> int:
        """Views of a batch, the single ones first."""
        return self.singles + 4 * self.mosaics


@dataclasses.dataclass(frozen=True)
class Views:
    """V views.

    Attributes:
        photo: (V,) int64.
        target: (V,) int64, the mask that the view was drawn around.
        corner: (V, 2) float32 xy of the view's rectangle in its picture, px.
        extent: (V, 2) float32 width and height of that rectangle.
        affine: (V, 2, 3) float32, from pixels of the picture to pixels of the photo.
    """

    photo: Tensor
    target: Tensor
    corner: Tensor
    extent: Tensor
    affine: Tensor


def uniform(generator: torch.Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform numbers on the generator's device."""
    draw = torch.rand(shape, generator=generator, device=generator.device)
    return draw * (high - low) + low


def normal(generator: torch.Generator, *shape: int, std: float = 1.0) -> Tensor:
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=generator, device=generator.device) * std


def photo_weights(store: Store, weights: dict[str, float], *, balanced: tuple[str, ...]) -> Tensor:
    """Chance of each photo to be drawn.

    Args:
        store: held-out photos get no chance.
        weights: share of each source, in any unit.
        balanced: sources whose photos are drawn as often as they have masks.
    """
    counts = (store.members >= 0).sum(1).float()
    chances = torch.zeros_like(counts)
    for index, name in enumerate(store.names):
        own = (store.source == index) & ~store.held_out & (counts > 0)
        shares = counts * own if name in balanced else own.float()
        chances += shares / shares.sum().clamp(min=1e-9) * weights.get(name, 0.0)
    return chances


def draw_views(
    store: Store, chances: Tensor, *, plan: ViewPlan, generator: torch.Generator
) -> Views:
    """Choose photos and what to show of them."""
    count, singles = plan.views, plan.singles
    photo = torch.multinomial(chances, count, replacement=True, generator=generator)
    members = store.members[photo]
    number = (members >= 0).sum(1)
    pick = (uniform(generator, count) * number).long().clamp(max=members.shape[1] - 1)
    target = members.gather(1, pick[:, None])[:, 0].clamp(min=0)
    low, size = _rectangles(store, photo, target, plan, generator)
    corner = torch.zeros(count, 2, device=photo.device)
    tile = torch.arange(4 * plan.mosaics, device=photo.device) % 4
    corner[singles:] = torch.stack([tile % 2, tile // 2], 1) * (SIDE / 2)
    extent = torch.full_like(corner, SIDE / 2)
    fitted = size[:singles] * (SIDE / size[:singles].amax(1, keepdim=True))
    extent[:singles] = fitted.round().clamp(min=1)
    flipped = uniform(generator, count) < 0.5
    angle = uniform(generator, count, low=-0.25, high=0.25)
    angle = angle * (uniform(generator, count) < plan.turned)
    angle[singles:] = 0
    return Views(photo, target, corner, extent, _affine(low, size, corner, extent, flipped, angle))


def _rectangles(
    store: Store, photo: Tensor, target: Tensor, plan: ViewPlan, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Lower corner and size (xy) of each view in its photo; (V, 2) each."""
    count, singles = len(photo), plan.singles
    whole = store.sizes[photo].flip(1)  # width, height
    box = store.boxes[target]
    longer = (box[:, 2:] - box[:, :2]).amax(1, keepdim=True)
    centre = (box[:, :2] + box[:, 2:]) * 0.5
    kind = uniform(generator, count, 1)
    aspect = torch.exp(normal(generator, count, 1, std=0.2))
    aspect = torch.cat([aspect, 1 / aspect], 1)

    trim = uniform(generator, count, 2, low=0.75, high=1.0)
    trim = torch.where(uniform(generator, count, 1) < 0.5, torch.ones_like(trim), trim)
    full = whole * trim
    zoomed = _log_uniform(generator, count, plan.zoom) * whole.amax(1, keepdim=True) * aspect
    focused = (_log_uniform(generator, count, plan.focus) * longer).clamp(min=48.0)
    focused = focused.expand(-1, 2)
    size = torch.where(kind < plan.full_share, full, zoomed)
    size = torch.where(kind > 1 - plan.focus_share, focused, size)
    squarish = torch.minimum(whole, whole.flip(1) * 1.25)
    size[singles:] = (squarish * uniform(generator, count, 2, low=0.7, high=1.0))[singles:]

    spread = torch.where(kind > 1 - plan.focus_share, 0.1, 0.25)
    middle = centre + normal(generator, count, 2) * spread * size
    size = torch.minimum(size, whole)
    low = torch.minimum((middle - size * 0.5).clamp(min=0), whole - size)
    return low, size


def _log_uniform(generator: torch.Generator, count: int, limits: tuple[float, float]) -> Tensor:
    low, high = (math.log(limit) for limit in limits)
    return torch.exp(uniform(generator, count, 1, low=low, high=high))


def _affine(
    low: Tensor, size: Tensor, corner: Tensor, extent: Tensor, flipped: Tensor, angle: Tensor
) -> Tensor:
    """From pixels of the picture to pixels of the photo, turned around the view's centre."""
    step = size / extent
    step = torch.where(flipped[:, None], step * step.new_tensor([-1.0, 1.0]), step)
    middle = low + size * 0.5
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    linear = turn * step[:, None, :]
    centre = corner + extent * 0.5
    shift = middle - (linear @ centre[..., None])[..., 0]
    return torch.cat([linear, shift[..., None]], 2)


def choose_masks(
    store: Store, views: Views, *, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """``count`` masks of each view that are mostly in it; repeated where there are fewer.

    Returns:
        (V, count) int64 masks, and (V, count) bool, false where a view shows none.
    """
    members = store.members[views.photo]
    boxes = store.boxes[members.clamp(min=0)]
    inverse = torch.linalg.inv_ex(views.affine[:, :, :2]).inverse  # does not wait for the device
    centres = (boxes[..., :2] + boxes[..., 2:]) * 0.5 - views.affine[:, None, :, 2]
    centres = centres @ inverse.transpose(1, 2)
    half = (boxes[..., 2:] - boxes[..., :2]) * 0.5
    half = half * torch.diagonal(inverse, dim1=1, dim2=2).abs()[:, None]
    low = torch.maximum(centres - half, views.corner[:, None])
    high = torch.minimum(centres + half, (views.corner + views.extent)[:, None])
    shown = (high - low).clamp(min=0).prod(-1) / (4 * half.prod(-1)).clamp(min=1e-6)
    usable = (members >= 0) & (shown > 0.4) & (half.amax(-1) >= 3.0)
    noise = -torch.log(-torch.log(uniform(generator, *members.shape).clamp(1e-6, 1 - 1e-6)))
    score = noise + 2.0 * (members == views.target[:, None])
    order = score.masked_fill(~usable, -torch.inf).topk(count, 1).indices
    number = usable.sum(1, keepdim=True)
    place = torch.arange(count, device=order.device)[None] % number.clamp(min=1)
    chosen = members.gather(1, order.gather(1, place))
    shuffle = uniform(generator, *chosen.shape).argsort(1)
    valid = (number > 0).expand(-1, count) & (chosen >= 0)
    return chosen.clamp(min=0).gather(1, shuffle), valid
