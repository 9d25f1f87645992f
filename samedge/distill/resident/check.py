"""Held-out photos, by a protocol close to that of ``samedge eval``, in seconds on the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from samedge.distill.resident.clicks import (
    SLOTS,
    PromptPlan,
    Prompts,
    correct,
    extents,
    region_points,
    solid,
)
from samedge.distill.resident.passes import FIRST_CORRECTION, refine
from samedge.distill.resident.scenes import resampled, sampling_grid
from samedge.distill.resident.store import PADDING_COLOUR, SIDE, Store
from samedge.distill.resident.student import Student
from samedge.types import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, IGNORED

_MASKS = 8
_AT_ONCE = 16
_FOCUS = 3.0
_SMALL = 32**2 * 0.64
"""Area of a small object where photos of 640 px are shown at 512."""


@torch.no_grad()
def check(student: Student, store: Store, *, sources: tuple[str, ...] = ()) -> dict[str, float]:
    """Mean IoU on held-out photos.

    Args:
        student: in evaluation mode.
        store: its held-out photos are used.
        sources: whose photos; all when empty.

    Returns:
        ``box``, ``box_small``, ``center``, ``oracle``, ``clicks``, ``focus`` and the number
        ``rows``; ``focus`` is the box with a second look where the object is small.
    """
    photos = store.held_out.nonzero()[:, 0]
    if sources:
        wanted = [index for index, name in enumerate(store.names) if name in sources]
        photos = photos[
            torch.isin(store.source[photos], torch.tensor(wanted, device=photos.device))
        ]
    found: dict[str, list[Tensor]] = {}
    for some in torch.split(photos, _AT_ONCE):
        for name, values in _check_photos(student, store, some).items():
            found.setdefault(name, []).append(values)
    rows = {name: torch.cat(values) for name, values in found.items()}
    small = rows.pop("area") < _SMALL
    means = {name: float(values.mean()) for name, values in rows.items()}
    means["box_small"] = float(rows["box"][small].mean())
    means["focus_small"] = float(rows["focus"][small].mean())
    means["rows"] = len(small)
    return {name: round(value, 4) for name, value in means.items()}


def _check_photos(student: Student, store: Store, photos: Tensor) -> dict[str, Tensor]:
    members = store.members[photos]
    members = torch.cat([members[:, :_MASKS], members[:, :1]], 1)
    usable = members[:, :_MASKS] >= 0
    members = torch.where(usable, members[:, :_MASKS], members[:, -1:])
    chosen = members.flatten()
    masks = store.masks[chosen] != 0
    coverage = F.avg_pool2d(masks[:, None].half(), 2)
    valid = store.sizes[photos].repeat_interleave(_MASKS, 0)
    inside = _inside(valid, SIDE // 2, SIDE)[:, None].half()
    with _bf16(masks):
        features = student.encode(store.photos[photos].float())
    generator = torch.Generator(masks.device).manual_seed(0)
    boxes, _ = extents(masks)
    centre, _ = region_points(solid(coverage), torch.ones_like(chosen).bool(), generator=generator)
    boxed, clicked = _prompts(boxes=boxes), _prompts(clicks=centre * 2 - 0.5)
    with _bf16(masks):
        box, _ = student.decode(features, boxed)
        click, quality = student.decode(features, clicked)
    within = _inside(valid, SIDE, SIDE)
    candidates = torch.stack([_iou(click[:, t], masks, within) for t in (1, 2, 3)], 1)
    pick = quality[:, 1:].argmax(1, keepdim=True)
    result = {
        "box": _iou(box[:, 0], masks, within),
        "center": candidates.gather(1, pick)[:, 0],
        "oracle": candidates.amax(1),
        "area": store.areas[chosen],
    }
    last = torch.take_along_dim(click[:, 1:], pick.view(-1, 1, 1, 1), 1)
    plan = PromptPlan(central=1.0)
    for slot in (FIRST_CORRECTION, FIRST_CORRECTION + 1):
        clicked = correct(
            clicked,
            last,
            fine=refine(last),
            coverage=coverage,
            inside=inside,
            slot=slot,
            plan=plan,
            generator=generator,
            scale=2.0,
        )
        with _bf16(masks):
            last = student.decode(features, clicked)[0][:, :1]
    result["clicks"] = _iou(last[:, 0], masks, within)
    owner = photos.repeat_interleave(_MASKS, 0)
    result["focus"] = _second_look(student, store, owner, masks, boxes, result["box"])
    return {name: values[usable.flatten()] for name, values in result.items()}


def _second_look(
    student: Student, store: Store, owner: Tensor, masks: Tensor, boxes: Tensor, plain: Tensor
) -> Tensor:
    """IoU in a square around each box that is encoded again; the plain one where it is large."""
    whole = store.sizes[owner].flip(1)
    size = ((boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) * _FOCUS).clamp(min=52.0)
    small = (size < whole.amax(1, keepdim=True))[:, 0]
    size = torch.minimum(size.expand(-1, 2), whole)
    low = (boxes[:, :2] + boxes[:, 2:] - size) * 0.5
    low = torch.minimum(low.clamp(min=0), whole - size)
    step = size.amax(1) / SIDE
    affine = torch.zeros(len(size), 2, 3, device=size.device)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = step, step, low
    parts = []
    for some in torch.split(torch.arange(len(size), device=size.device), 64):
        grid = sampling_grid(affine[some], SIDE, source=SIDE)
        within = _inside((size[some] / step[some, None]).flip(1), SIDE, SIDE)
        images = resampled(store.photos[owner[some]].float(), grid, padding="border")
        colour = images.new_tensor(PADDING_COLOUR).view(1, 3, 1, 1)
        images = torch.where(within[:, None], images, colour)
        truth = resampled(masks[some, None].float(), grid)[:, 0] > 0.5
        moved = (boxes[some] - low[some].repeat(1, 2)) / step[some, None]
        with _bf16(images):
            logits, _ = student.decode(student.encode(images), _prompts(boxes=moved))
        parts.append(_iou(logits[:, 0], truth, within))
    return torch.where(small, torch.cat(parts), plain)


def _prompts(*, boxes: Tensor | None = None, clicks: Tensor | None = None) -> Prompts:
    points = boxes.view(-1, 2, 2) if boxes is not None else clicks[:, None]  # type: ignore[index]
    rows, used = points.shape[:2]
    coords = points.new_zeros(rows, SLOTS, 2)
    labels = points.new_full((rows, SLOTS), float(IGNORED))
    coords[:, :used] = points
    if boxes is not None:
        labels[:, 0], labels[:, 1] = BOX_TOP_LEFT, BOX_BOTTOM_RIGHT
    else:
        labels[:, 0] = FOREGROUND
    mask = points.new_zeros(rows, 1, SIDE // 4, SIDE // 4)
    return Prompts(coords, labels, mask, points.new_zeros(rows))


def _inside(valid: Tensor, cells: int, size: int) -> Tensor:
    """(R, cells, cells) bool: picture and not padding, for heights and widths (R, 2)."""
    steps = (torch.arange(cells, device=valid.device) + 0.5) * (size / cells)
    inside = steps < valid[..., None]
    return inside[:, 0, :, None] & inside[:, 1, None, :]


def _iou(logits: Tensor, masks: Tensor, within: Tensor) -> Tensor:
    fine = F.interpolate(logits[:, None], scale_factor=4.0, mode="bilinear", align_corners=False)
    guess = (fine[:, 0] > 0) & within
    both = (guess & masks).flatten(1).sum(1)
    return both / (guess | masks).flatten(1).sum(1).clamp(min=1)


def summary(means: dict[str, float]) -> str:
    """One line for people."""
    return " ".join(f"{name} {value:.3f}" for name, value in means.items() if name != "rows")


def score(means: dict[str, float]) -> float:
    """One number to compare runs by."""
    names = ("box", "center", "clicks", "focus")
    return sum(means[name] for name in names) / len(names)


def _bf16(like: Tensor) -> torch.autocast:
    """Compute in bf16 on a GPU."""
    return torch.autocast(like.device.type, torch.bfloat16, enabled=like.is_cuda)
