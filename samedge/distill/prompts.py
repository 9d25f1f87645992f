"""Simulated prompts: what a person would click, drawn from the masks.

The first prompt is a point or a box with equal chance; later ones are clicks in the region where
the last prediction and the mask differ, with the last low-res logits as mask prompt (Kirillov et
al., "Segment Anything", 2023, appendix A, "Training algorithm"). All functions work on R rows at
once (one row is one mask) and draw from an explicit generator, so that a run can be repeated.

Coordinates are xy pixels of the padded S x S input: a click names a pixel by its index (the
decoder's graph adds the half pixel), a box its outer edges, as COCO's do.
"""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samedge.distill.limits import check_range
from samedge.types import (
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    IGNORED,
    PADDING,
    Array,
)

_THREADS = min(os.cpu_count() or 1, 8)
"""Of the distance transforms."""


@dataclasses.dataclass(frozen=True)
class PromptConfig:
    """How prompts are drawn.

    Attributes:
        box_share: share of rows that begin with a box; the others begin with a point.
        central_share: share of first points taken at the mask's centre, not at random in it.
        click_central_share: share of later clicks at the centre of the larger error region, as
            the evaluation places them; the others are uniform over both regions, as in SAM.
        click_stride: every how many pixels errors are looked for; 1 is exact and slower.
        box_noise: standard deviation of a box edge, as a share of the box's side.
        box_noise_limit: largest shift of a box edge, as a share of S (SAM: 20 px of 1024).
    """

    box_share: float = 0.5
    central_share: float = 0.5
    click_central_share: float = 0.5
    box_noise: float = 0.1
    box_noise_limit: float = 20 / 1024
    click_stride: int = 2

    def __post_init__(self) -> None:
        check_range(self, "box_share", "central_share", "click_central_share", low=0, high=1)
        check_range(self, "box_noise", "box_noise_limit", low=0, high=1)
        check_range(self, "click_stride", low=1, high=16)


@dataclasses.dataclass(frozen=True)
class PromptBatch:
    """The prompts of R rows, as the mask decoder takes them.

    Attributes:
        point_coords: (R, N, 2) float32, xy px of the padded S x S input.
        point_labels: (R, N) float32: 1, 0, 2 and 3 for box corners, -1 padding, -2 ignored.
        mask_input: (R, 1, S/4, S/4) float32, logits of the last prediction or zeros.
        has_mask_input: (R,) float32, 1 where ``mask_input`` counts.
        ambiguous: (R,) bool, one click and nothing else.
    """

    point_coords: Tensor
    point_labels: Tensor
    mask_input: Tensor
    has_mask_input: Tensor
    ambiguous: Tensor


def _uniform(shape: tuple[int, ...], generator: torch.Generator, *, like: Tensor) -> Tensor:
    """Uniform numbers drawn on the generator's device, so that results do not depend on ours."""
    return torch.rand(shape, generator=generator, device=generator.device).to(like.device)


def _row_counts(regions: Tensor) -> Tensor:
    """Pixels of every row of (R, H, W) regions; (R, H) int64. NumPy counts far faster on a CPU."""
    if regions.device.type == "cpu":
        return torch.from_numpy(np.count_nonzero(regions.numpy(), axis=2))
    return regions.count_nonzero(2)


def boxes_from_masks(masks: Tensor) -> Tensor:
    """Boxes around masks.

    Args:
        masks: (R, H, W) bool or uint8.

    Returns:
        (R, 4) float32 ``x0, y0, x1, y1``, outer edges in px; zeros for an empty mask.
    """
    columns = masks.to(torch.uint8).amax(1)
    rows = (_row_counts(masks) > 0).to(torch.uint8)
    edges = []
    for taken in (columns, rows):
        edges += [taken.argmax(1), taken.shape[1] - taken.flip(1).argmax(1)]
    boxes = torch.stack([edges[0], edges[2], edges[1], edges[3]], 1).float()
    return boxes * rows.amax(1)[:, None]


def jitter_boxes(
    boxes: Tensor, generator: torch.Generator, *, image_size: int, config: PromptConfig
) -> Tensor:
    """Shift every box edge by clipped normal noise; the result stays in the image and not empty.

    Args:
        boxes: (R, 4) ``x0, y0, x1, y1`` px.
        generator: source of the noise.
        image_size: S.
        config: ``box_noise`` and ``box_noise_limit``.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = torch.randn(boxes.shape, generator=generator, device=generator.device)
    limit = config.box_noise_limit * image_size
    shift = (noise.to(boxes.device) * sides * config.box_noise).clamp(-limit, limit)
    moved = (boxes + shift).clamp(0, image_size)
    inverted = (moved[:, 2:] - moved[:, :2] < 1).any(1, keepdim=True)
    return torch.where(inverted, boxes, moved)


def random_points(regions: Tensor, generator: torch.Generator) -> Tensor:
    """One pixel of every region, uniformly.

    Args:
        regions: (R, H, W) bool or uint8.
        generator: source of the choice.

    Returns:
        (R, 2) int64 xy pixel indices; (0, 0) for an empty region.
    """
    rows = _row_counts(regions).cumsum(1)
    count = rows[:, -1:]
    rank = (_uniform((len(regions), 1), generator, like=rows).double() * count).long()
    rank = torch.minimum(rank, (count - 1).clamp(min=0))  # 0-based, in reading order
    y = torch.searchsorted(rows, rank, right=True).clamp(max=rows.shape[1] - 1)
    before = torch.where(y > 0, rows.gather(1, (y - 1).clamp(min=0)), 0)
    row = (regions[torch.arange(len(regions), device=y.device), y[:, 0]] != 0).cumsum(1)
    x = torch.searchsorted(row, rank - before, right=True).clamp(max=row.shape[1] - 1)
    return torch.cat([x, y], 1) * (count > 0)


def central_point(mask: Array) -> tuple[int, int]:
    """The pixel of one mask that is furthest from its edge; the image's border is an edge too.

    Args:
        mask: (H, W) bool or uint8.

    Returns:
        ``(x, y)`` pixel index; (0, 0) for an empty mask.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return 0, 0
    crop = mask.view(np.uint8)[y : y + height, x : x + width]
    framed = cv2.copyMakeBorder(crop, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return x + int(column) - 1, y + int(row) - 1


def central_points(regions: Tensor) -> Tensor:
    """``central_point`` of (R, H, W) regions; (R, 2) int64 xy pixel indices.

    OpenCV lets go of Python's lock, so that several cores share a GPU's large batches.
    """
    arrays = regions.detach().to("cpu", torch.uint8).numpy()
    with ThreadPoolExecutor(_THREADS) as pool:
        points = np.array(list(pool.map(central_point, arrays)), np.int64).reshape(-1, 2)
    return torch.from_numpy(points).to(regions.device)


def _points(regions: Tensor, central: Tensor, generator: torch.Generator) -> Tensor:
    """Central points where ``central``, random ones elsewhere; (R, 2) int64."""
    points = random_points(regions, generator)
    if central.any():
        points[central] = central_points(regions[central])
    return points


def first_prompts(
    masks: Tensor, generator: torch.Generator, *, config: PromptConfig | None = None
) -> PromptBatch:
    """A point (with SAM's padding point) or a jittered box for every mask.

    Args:
        masks: (R, S, S) bool or uint8 0/1; an empty one gets only ignored tokens.
        generator: source of every choice.
        config: shares and noise.

    Returns:
        Prompts of two tokens, without mask input.
    """
    config = PromptConfig() if config is None else config
    rows, size = len(masks), masks.shape[-1]
    draws = _uniform((2, rows), generator, like=masks)
    boxed = draws[0] < config.box_share
    central = (draws[1] < config.central_share) & ~boxed
    points = _points(masks, central, generator).float()
    exact = boxes_from_masks(masks)
    boxes = jitter_boxes(exact, generator, image_size=size, config=config)
    clicks = torch.stack([points, torch.zeros_like(points)], 1)
    coords = torch.where(boxed[:, None, None], boxes.view(rows, 2, 2), clicks)
    corner_labels = masks.new_tensor([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], dtype=torch.float32)
    click_labels = masks.new_tensor([FOREGROUND, PADDING], dtype=torch.float32)
    labels = torch.where(boxed[:, None], corner_labels, click_labels)
    empty = exact[:, 2] == 0
    labels = labels.masked_fill(empty[:, None], IGNORED)
    return PromptBatch(
        point_coords=coords,
        point_labels=labels,
        mask_input=torch.zeros(rows, 1, size // 4, size // 4, device=masks.device),
        has_mask_input=torch.zeros(rows, device=masks.device),
        ambiguous=~boxed & ~empty,
    )


def error_regions(
    logits: Tensor, masks: Tensor, *, valid_size: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Where a prediction misses the mask and where it exceeds it.

    Args:
        logits: (R, h, w) low-res logits, upsampled bilinearly to the masks' size.
        masks: (R, H, W) bool or uint8 0/1.
        valid_size: (R, 2) height and width in the masks' pixels, nothing outside it counts;
            ``None`` for no padding.

    Returns:
        False negatives and false positives, (R, H, W) bool each.
    """
    truth = masks != 0
    size = masks.shape[-2:]
    fine = F.interpolate(logits[:, None].float(), size=size, mode="bilinear", align_corners=False)
    predicted = fine[:, 0] > 0
    if valid_size is not None:
        steps = torch.arange(size[0], device=masks.device)
        inside = steps < valid_size[:, :, None]
        predicted = predicted & inside[:, 0, :, None] & inside[:, 1, None, :]
    return truth & ~predicted, predicted & ~truth


def next_clicks(
    logits: Tensor,
    masks: Tensor,
    *,
    generator: torch.Generator,
    valid_size: Tensor | None = None,
    config: PromptConfig | None = None,
) -> tuple[Tensor, Tensor]:
    """One click a row where the prediction errs.

    Args:
        logits: (R, h, w) low-res logits of the last prediction.
        masks: (R, S, S) bool or uint8 0/1.
        generator: source of every choice.
        valid_size: (R, 2), height and width of the unpadded image, px.
        config: ``click_central_share``.

    Returns:
        Coordinates (R, 2) float32 xy px and labels (R,) float32: foreground in a false negative,
        background in a false positive, ignored where the prediction is perfect.
    """
    config = PromptConfig() if config is None else config
    stride, first = config.click_stride, config.click_stride // 2
    seen = masks[:, first::stride, first::stride]
    inside = None if valid_size is None else (valid_size - first + stride - 1) // stride
    missed, excess = error_regions(logits, seen, valid_size=inside)
    central = _uniform((len(masks),), generator, like=masks) < config.click_central_share
    larger_missed = _row_counts(missed).sum(1) >= _row_counts(excess).sum(1)
    larger = torch.where(larger_missed[:, None, None], missed, excess)
    regions = torch.where(central[:, None, None], larger, missed | excess)
    points = _points(regions, central, generator)
    rows = torch.arange(len(masks), device=masks.device)
    foreground = missed[rows, points[:, 1], points[:, 0]]
    labels = torch.where(foreground, float(FOREGROUND), float(BACKGROUND))
    wrong = regions[rows, points[:, 1], points[:, 0]]
    coords = (points * stride + first).float()
    return coords, torch.where(wrong, labels, float(IGNORED))


def refine_prompts(
    prompts: PromptBatch,
    logits: Tensor,
    *,
    masks: Tensor,
    generator: torch.Generator,
    valid_size: Tensor | None = None,
    config: PromptConfig | None = None,
) -> PromptBatch:
    """The next prompts: one more click in the error region, and the last logits as mask prompt.

    Args:
        prompts: the last prompts.
        logits: (R, S/4, S/4) low-res logits that they gave, of the chosen token; detached here.
        masks: (R, S, S) bool or uint8 0/1; an empty one gets an ignored token and no mask prompt.
        generator: source of every choice.
        valid_size: (R, 2), height and width of the unpadded image, px.
        config: ``click_central_share``.
    """
    logits = logits.detach()
    coords, labels = next_clicks(
        logits, masks, generator=generator, valid_size=valid_size, config=config
    )
    filled = _row_counts(masks).any(1)
    labels = labels.masked_fill(~filled, IGNORED)
    return PromptBatch(
        point_coords=torch.cat([prompts.point_coords, coords[:, None]], 1),
        point_labels=torch.cat([prompts.point_labels, labels[:, None]], 1),
        mask_input=logits[:, None].float() * filled[:, None, None, None],
        has_mask_input=filled.float(),
        ambiguous=torch.zeros_like(filled),
    )
