"""Pictures and masks of one step, drawn on the device: views, pasted objects, light and noise."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from samedge.distill.resident.store import CUTOUT_SIDE, PADDING_COLOUR, SIDE, Store
from samedge.distill.resident.views import (
    ViewPlan,
    Views,
    choose_masks,
    draw_views,
    normal,
    uniform,
)

LAYERS = 3
"""Objects pasted on a picture that gets some."""

_BLURS = (1, 3, 7)
"""Widths of the box filters of the object bank's levels, px."""


@dataclasses.dataclass(frozen=True)
class Scenes:
    """B pictures with K masks each; R = B * K rows, those of a picture side by side.

    Attributes:
        images: (B, 3, S, S) float32, RGB 0..255.
        masks: (R, S, S) bool.
        valid: (B, 2) float32, height and width that are picture and not padding.
        usable: (R,) bool, rows that have a mask of some pixels.
    """

    images: Tensor
    masks: Tensor
    valid: Tensor
    usable: Tensor


def draw_scenes(
    store: Store,
    chances: Tensor,
    *,
    bank: Tensor,
    plan: ViewPlan,
    pasted: int,
    gen: torch.Generator,
) -> Scenes:
    """Draw one batch.

    Args:
        store: photos and masks.
        chances: of each photo, from ``photo_weights``.
        bank: from ``object_bank``.
        plan: what a batch consists of.
        pasted: single views that get objects of the bank.
        gen: source of every choice.
    """
    views = draw_views(store, chances, plan=plan, generator=gen)
    images = _pictures(store, views, plan)
    owner, chosen, usable = _rows(store, views, plan, gen)
    masks = _masks(store, views, owner, chosen)
    if pasted:
        _paste(images, masks, usable, bank, views.extent[:pasted], plan, gen)
    valid = images.new_full((plan.pictures, 2), float(SIDE))
    valid[: plan.singles] = views.extent[: plan.singles].flip(1)
    images = _light(images, gen)
    steps = torch.arange(SIDE, device=images.device)
    inside = (steps < valid[:, 0, None])[:, None, :, None] & (steps < valid[:, 1, None])[
        :, None, None, :
    ]
    colour = images.new_tensor(PADDING_COLOUR).view(1, 3, 1, 1)
    usable = usable & (masks.flatten(1).sum(1) >= 16)
    return Scenes(torch.where(inside, images, colour), masks, valid, usable)


def sampling_grid(affine: Tensor, side: int, *, source: int, step: float = 1.0) -> Tensor:
    """Sampling positions for ``grid_sample``: (V, side, side, 2) for affines in pixels."""
    centres = (torch.arange(side, device=affine.device) + 0.5) * step
    x = affine[:, :, 0, None, None] * centres
    y = affine[:, :, 1, None, None] * centres[:, None]
    place = x + y + affine[:, :, 2, None, None]
    return (place * (2.0 / source) - 1.0).permute(0, 2, 3, 1)


def resampled(images: Tensor, grid: Tensor, *, padding: str = "zeros") -> Tensor:
    """Pictures, (V, C, H, W), looked at where a grid of :func:`sampling_grid` says."""
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _pictures(store: Store, views: Views, plan: ViewPlan) -> Tensor:
    """(B, 3, S, S) float32 pictures without light, noise and padding."""
    n = plan.singles
    photos = store.photos[views.photo[:n]].float()
    singles = resampled(
        photos, sampling_grid(views.affine[:n], SIDE, source=SIDE), padding="border"
    )
    if not plan.mosaics:
        return singles
    # A tile is half as fine as its photo: sample twice as finely and average.
    affine, corner = views.affine[n:].clone(), views.corner[n:]
    affine[:, :, 2] += (affine[:, :, :2] @ corner[..., None])[..., 0]
    photos = store.photos[views.photo[n:]].float()
    tiles = F.avg_pool2d(
        resampled(photos, sampling_grid(affine, SIDE, source=SIDE, step=0.5), padding="border"), 2
    )
    half = SIDE // 2
    tiles = tiles.view(plan.mosaics, 2, 2, 3, half, half).permute(0, 3, 1, 4, 2, 5)
    return torch.cat([singles, tiles.reshape(plan.mosaics, 3, SIDE, SIDE)])


def _rows(
    store: Store, views: Views, plan: ViewPlan, gen: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """View, mask and use of every row; (R,) each."""
    n, k = plan.singles, plan.masks
    chosen, usable = choose_masks(store, views, count=k, generator=gen)
    index = torch.arange(plan.views, device=chosen.device)
    owner = index[:n, None].expand(-1, k)
    if not plan.mosaics:
        return owner.flatten(), chosen.flatten(), usable.flatten()
    # The rows of a mosaic come from its four views in turns, in random order.
    turn = uniform(gen, plan.mosaics, k).argsort(1)
    tile = turn % 4
    views_of = n + 4 * torch.arange(plan.mosaics, device=tile.device)[:, None] + tile
    place = turn // 4
    owner = torch.cat([owner, views_of])
    chosen = torch.cat([chosen[:n], chosen[views_of, place]])
    usable = torch.cat([usable[:n], usable[views_of, place]])
    return owner.flatten(), chosen.flatten(), usable.flatten()


def _masks(store: Store, views: Views, owner: Tensor, chosen: Tensor) -> Tensor:
    """(R, S, S) bool."""
    drawn = resampled(
        store.masks[chosen][:, None].float(), sampling_grid(views.affine[owner], SIDE, source=SIDE)
    )
    steps = torch.arange(SIDE, device=owner.device) + 0.5
    low, high = views.corner[owner], (views.corner + views.extent)[owner]
    inside = (steps > low[..., None]) & (steps < high[..., None])  # (R, 2, S)
    return (drawn[:, 0] > 0.5) & inside[:, 0, None, :] & inside[:, 1, :, None]


def object_bank(store: Store, sources: tuple[str, ...], *, most: int, least_area: float) -> Tensor:
    """Cut-outs and masked objects of photos, with premultiplied alpha, at three levels of blur.

    Args:
        store: where they come from; held-out photos are left alone.
        sources: whose masks are good enough to cut along.
        most: objects taken from photos.
        least_area: of their masks, px.

    Returns:
        (3, K, 4, 192, 192) uint8 premultiplied RGBA.
    """
    allowed = [index for index, name in enumerate(store.names) if name in sources]
    photo = torch.arange(len(store.members), device=store.members.device)
    owner = photo[:, None].expand_as(store.members)[store.members >= 0]
    mask = store.members[store.members >= 0]
    good = torch.isin(store.source[owner], torch.tensor(allowed, device=owner.device))
    good &= ~store.held_out[owner] & (store.areas[mask] >= least_area)
    owner, mask = owner[good][:most], mask[good][:most]
    cut = [
        _cut_out(store, o, m)
        for o, m in zip(torch.split(owner, 128), torch.split(mask, 128), strict=True)
    ]
    rgba = store.cutouts.float()
    cut.append(
        (rgba * torch.cat([rgba[:, 3:] / 255] * 3 + [torch.ones_like(rgba[:, 3:])], 1)).byte()
    )
    objects = torch.cat(cut)
    levels = []
    for width in _BLURS:
        chunks = [
            F.avg_pool2d(c.float(), width, 1, width // 2).round().byte()
            for c in torch.split(objects, 256)
        ]
        levels.append(torch.cat(chunks))
    return torch.stack(levels)


def _cut_out(store: Store, photo: Tensor, mask: Tensor) -> Tensor:
    """Objects of photos on their own squares, (V, 4, 192, 192) uint8 premultiplied."""
    boxes = store.boxes[mask]
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1) * 1.06 + 2
    centre = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    scale = (side / CUTOUT_SIDE)[:, None, None]
    linear = torch.eye(2, device=boxes.device) * scale
    affine = torch.cat([linear, (centre - side[:, None] * 0.5)[..., None]], 2)
    grid = sampling_grid(affine, CUTOUT_SIDE, source=SIDE)
    colour = resampled(store.photos[photo].float(), grid, padding="border")
    drawn = resampled(F.avg_pool2d(store.masks[mask][:, None].float(), 3, 1, 1), grid)
    alpha = ((drawn - 0.3) / 0.5).clamp(0, 1)
    return torch.cat([colour * alpha, alpha * 255], 1).round().byte()


def _paste(
    images: Tensor,
    masks: Tensor,
    usable: Tensor,
    bank: Tensor,
    extent: Tensor,
    plan: ViewPlan,
    gen: torch.Generator,
) -> None:
    """Lay objects over the first pictures, in place; they take the first rows of each."""
    count = len(extent)
    total = count * LAYERS
    side = torch.exp(uniform(gen, total, low=math.log(16), high=math.log(260)))
    pick = (uniform(gen, total) * bank.shape[1]).long()
    shrink = CUTOUT_SIDE / side
    level = (shrink > 1.6).long() + (shrink > 4.0).long()
    angle = normal(gen, total, std=0.2)
    flip = (uniform(gen, total) < 0.5).float() * 2 - 1
    cos, sin = torch.cos(angle) * shrink, torch.sin(angle) * shrink
    linear = torch.stack([torch.stack([cos * flip, -sin * flip], 1), torch.stack([sin, cos], 1)], 1)
    centre = uniform(gen, total, 2) * extent.repeat_interleave(LAYERS, 0)
    shift = CUTOUT_SIDE / 2 - (linear @ centre[..., None])[..., 0]
    affine = torch.cat([linear, shift[..., None]], 2)
    layers = resampled(bank[level, pick].float(), sampling_grid(affine, SIDE, source=CUTOUT_SIDE))
    layers = layers.view(count, LAYERS, 4, SIDE, SIDE)
    bright = torch.exp(normal(gen, count, LAYERS, 1, 1, 1, std=0.15))
    own = masks.view(plan.pictures, plan.masks, SIDE, SIDE)[:count]
    flags = usable.view(plan.pictures, plan.masks)[:count]
    pasted: list[Tensor] = []
    for layer in range(LAYERS):
        alpha = layers[:, layer, 3:] / 255
        colour = layers[:, layer, :3] * bright[:, layer]
        images[:count] = images[:count] * (1 - alpha) + colour.clamp(max=255)
        solid = alpha > 0.5
        pasted = [below & ~solid for below in pasted]
        own &= ~solid
        pasted.append(solid)
    steps = torch.arange(SIDE, device=images.device) + 0.5
    inside = (steps < extent[:, 0:1])[:, None, None, :] & (steps < extent[:, 1:])[:, None, :, None]
    taken = slice(0, 2 * LAYERS, 2)  # half of them in either half of the rows
    own[:, taken] = torch.cat(pasted, 1) & inside
    flags[:, taken] = True


def _light(images: Tensor, gen: torch.Generator) -> Tensor:
    """Contrast, brightness, colour, blur and noise; float32 0..255."""
    count = len(images)

    def one(std: float, channels: int = 1) -> Tensor:
        return normal(gen, count, channels, 1, 1, std=std)

    blurred = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.where(uniform(gen, count, 1, 1, 1) < 0.12, blurred, images)
    mean = images.mean((1, 2, 3), keepdim=True)
    gray = images.mean(1, keepdim=True)
    saturation = torch.exp(one(0.3)) * (uniform(gen, count, 1, 1, 1) > 0.04)
    images = gray + (images - gray) * saturation
    images = (images - mean) * torch.exp(one(0.2)) + mean + one(16.0)
    images = images * torch.exp(one(0.06, 3))
    strength = uniform(gen, count, 1, 1, 1, low=1.0, high=12.0)
    strength = strength * (uniform(gen, count, 1, 1, 1) < 0.2)
    images = (
        images
        + torch.randn(images.shape, generator=gen, device=images.device, dtype=images.dtype)
        * strength
    )
    return images.clamp(0, 255)
