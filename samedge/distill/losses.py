"""Losses of the prompts-in-the-loop and the features stage.

All are computed per row (one row is one prompted mask of one image) on the grid of the logits, or
on a finer one that the logits are upsampled to. Targets are *coverage*: the share of a grid cell
that the mask fills, so that an object of a few pixels still has a target on a coarse grid. Padding
is excluded, and every mask counts alike whatever its area.

Sources: focal and dice at 20:1, the smallest loss of three masks and the MSE on the predicted IoU
are those of Kirillov et al., "Segment Anything", 2023, appendix A; the focal loss for soft targets
is the quality focal loss of Li et al., 2020; the squared dice is that of Milletari et al., "V-Net",
2016. For hard targets the focal loss equals ``torchvision.ops.sigmoid_focal_loss``.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from samedge.distill.limits import check_range

Regression = Literal["mse", "huber"]
FocalMean = Literal["image", "object"]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights and shapes of the mask losses.

    Attributes:
        focal_weight: weight of the focal loss.
        dice_weight: weight of the dice loss.
        iou_weight: weight of the squared error of the predicted IoU.
        focal_gamma: exponent of the focal loss.
        focal_alpha: weight of the foreground (the background gets ``1 - alpha``), or ``None`` for
            equal weights; 0.25, as for detection, pushes small masks to empty early on.
        focal_mean: ``image`` averages over the valid pixels, as SAM does; ``object`` divides the
            sum by the mask's own pixels, as RetinaNet does, which is many times larger for small
            masks (use a focal weight near 1).
        dice_power: 2 for the squared form, whose optimum is the coverage itself; 1 for SAM's own.
        dice_smooth: added to both sides of the dice fraction, in cells.
        upsample: how many times finer than the logits the grid of the loss is.
    """

    focal_weight: float = 20.0
    dice_weight: float = 1.0
    iou_weight: float = 1.0
    focal_gamma: float = 2.0
    focal_alpha: float | None = None
    focal_mean: FocalMean = "image"
    dice_power: Literal[1, 2] = 2
    dice_smooth: float = 1.0
    upsample: int = 1

    def __post_init__(self) -> None:
        check_range(self, "focal_weight", "dice_weight", "iou_weight", low=0, high=1e6)
        check_range(self, "focal_gamma", low=0, high=8)
        check_range(self, "dice_smooth", low=0, high=1e6)
        check_range(self, "upsample", low=1, high=8)
        if self.focal_alpha is not None:
            check_range(self, "focal_alpha", low=0, high=1)


@dataclasses.dataclass(frozen=True)
class MaskLosses:
    """Losses of R rows; only ``total`` and the three losses carry gradients.

    Attributes:
        total: scalar, the weighted sum averaged over the rows that count.
        focal: (R,), of the chosen token.
        dice: (R,), of the chosen token.
        iou_error: (R,), squared error of the predicted IoU, averaged over the competing tokens.
        chosen: (R,) int64, the token that is trained: the smallest loss of 1..3, or 0.
        iou: (R,), IoU of the chosen token's thresholded mask.
        iou_selected: (R,), IoU of the token that the runtime would take: the one with the highest
            predicted IoU of the competing ones.
        summary: means over the rows that count, detached: ``loss focal dice iou_error iou
            iou_selected``.
    """

    total: Tensor
    focal: Tensor
    dice: Tensor
    iou_error: Tensor
    chosen: Tensor
    iou: Tensor
    iou_selected: Tensor
    summary: dict[str, Tensor]


def valid_coverage(valid_size: Tensor, grid: int, *, image_size: int) -> Tensor:
    """Share of every grid cell that is image and not padding.

    Args:
        valid_size: (R, 2) heights and widths of the images, px of the padded S x S input.
        grid: cells along a side of the grid.
        image_size: S.

    Returns:
        (R, 1, grid, grid) float32 in 0..1.
    """
    edges = torch.arange(grid, device=valid_size.device, dtype=torch.float32)
    lengths = valid_size.to(torch.float32) * (grid / image_size)
    share = (lengths[:, :, None] - edges).clamp(0, 1)
    return (share[:, 0, :, None] * share[:, 1, None, :])[:, None]


def mask_coverage(masks: Tensor, grid: int) -> Tensor:
    """Masks averaged by area onto a grid.

    Args:
        masks: (R, S, S) bool or uint8, 0 and 1.
        grid: cells along a side; if S is no multiple of it, the averages are approximate.

    Returns:
        (R, 1, grid, grid) float32 in 0..1.
    """
    step, rest = divmod(masks.shape[-1], grid)
    if rest or not 1 <= step <= 15:
        return F.interpolate(masks[:, None].to(torch.float32), size=(grid, grid), mode="area")
    counts = masks.to(torch.uint8)  # a cell's count, at most 15 * 15, fits: three times as fast
    counts = functools.reduce(torch.add, [counts[:, k::step] for k in range(step)])
    counts = functools.reduce(torch.add, [counts[..., k::step] for k in range(step)])
    return counts[:, None].to(torch.float32) / step**2


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    weight: Tensor,
    gamma: float = 2.0,
    alpha: float | None = None,
    mean: FocalMean = "image",
) -> Tensor:
    """Focal loss of every token for soft targets: ``|t - p|^gamma`` times the cross entropy.

    Args:
        logits: (R, C, h, w).
        targets: (R, 1, h, w) coverage, 0..1.
        weight: (R, 1, h, w) valid coverage, 0..1.
        gamma: focusing exponent.
        alpha: foreground weight, or ``None`` for equal weights.
        mean: what the sum is divided by: valid pixels or the mask's own.

    Returns:
        (R, C) float32.
    """
    logits, targets = logits.float(), targets.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    distance = targets - logits.sigmoid()
    loss = entropy * (distance.square() if gamma == 2 else distance.abs().pow(gamma))
    if alpha is not None:
        loss = loss * (alpha * targets + (1 - alpha) * (1 - targets))
    divisor = weight if mean == "image" else weight * targets
    return (loss * weight).sum((2, 3)) / divisor.sum((2, 3)).clamp(min=1.0)


def dice_loss(
    logits: Tensor, targets: Tensor, *, weight: Tensor, power: int = 2, smooth: float = 1.0
) -> Tensor:
    """One minus the dice coefficient of every token.

    Args:
        logits: (R, C, h, w).
        targets: (R, 1, h, w) coverage, 0..1.
        weight: (R, 1, h, w) valid coverage, 0..1.
        power: exponent in the denominator: 2 has its optimum at the coverage itself.
        smooth: added to numerator and denominator, in cells.

    Returns:
        (R, C) float32 in 0..1.
    """
    inside = logits.float().sigmoid()
    overlap = (inside * (targets * weight)).sum((2, 3))
    sizes = (inside.pow(power) * weight).sum((2, 3)) + (targets.pow(power) * weight).sum((2, 3))
    return 1 - (2 * overlap + smooth) / (sizes + smooth)


@torch.no_grad()
def thresholded_iou(logits: Tensor, targets: Tensor, *, weight: Tensor) -> Tensor:
    """IoU of ``logits > 0`` with the coverage, for every token; (R, C), an empty union gives 1."""
    inside = (logits > 0).float() * weight
    overlap = (inside * targets).sum((2, 3))
    union = inside.sum((2, 3)) + (targets * weight).sum((2, 3)) - overlap
    return torch.where(union > 0, overlap / union.clamp(min=1e-6), torch.ones_like(union))


def competing_tokens(ambiguous: Tensor, tokens: int) -> Tensor:
    """Which tokens a row may answer with: 1.. when it is ambiguous, else token 0.

    Args:
        ambiguous: (R,) bool.
        tokens: C, the decoder's number of tokens.

    Returns:
        (R, C) bool.
    """
    if tokens == 1:
        return torch.ones(len(ambiguous), 1, dtype=torch.bool, device=ambiguous.device)
    first = torch.arange(tokens, device=ambiguous.device) == 0
    return first[None] != ambiguous.bool()[:, None]


def mask_losses(
    low_res_logits: Tensor,
    iou_predictions: Tensor,
    *,
    masks: Tensor,
    valid_size: Tensor,
    ambiguous: Tensor,
    row_valid: Tensor | None = None,
    config: LossConfig | None = None,
) -> MaskLosses:
    """Focal, dice and IoU losses of the decoder's four tokens against the masks.

    Only tokens that compete are computed: three of an ambiguous row, one of the others.

    Args:
        low_res_logits: (R, C, S/4, S/4), C is 4 (or 1).
        iou_predictions: (R, C).
        masks: (R, S, S) bool or uint8 0/1, ground truth in the padded input's frame.
        valid_size: (R, 2), height and width of the unpadded image, px.
        ambiguous: (R,) bool: one click and nothing else, so that tokens 1..3 compete.
        row_valid: (R,) bool, rows that count; all of them when ``None``.
        config: weights.
    """
    config = LossConfig() if config is None else config
    competing = competing_tokens(ambiguous, low_res_logits.shape[1])
    pairs = competing.nonzero(as_tuple=True)
    logits = low_res_logits[pairs][:, None].float()
    grid = logits.shape[-1] * config.upsample
    if config.upsample > 1:
        logits = F.interpolate(logits, size=(grid, grid), mode="bilinear", align_corners=False)
    targets = mask_coverage(masks, grid)[pairs[0]]
    weight = valid_coverage(valid_size, grid, image_size=masks.shape[-1])[pairs[0]]
    losses = _pair_losses(logits, targets, weight, config=config)
    focal, dice, iou = (_scattered(values, pairs, competing) for values in losses)
    counts = focal.new_ones(len(focal)) if row_valid is None else row_valid.to(focal.dtype)
    return _select(
        focal, dice, iou, iou_predictions.float(), competing=competing, counts=counts, config=config
    )


def _pair_losses(
    logits: Tensor, targets: Tensor, weight: Tensor, *, config: LossConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Focal loss, dice loss and IoU of P masks; each (P,)."""
    focal = focal_loss(
        logits,
        targets,
        weight=weight,
        gamma=config.focal_gamma,
        alpha=config.focal_alpha,
        mean=config.focal_mean,
    )
    dice = dice_loss(
        logits, targets, weight=weight, power=config.dice_power, smooth=config.dice_smooth
    )
    return focal[:, 0], dice[:, 0], thresholded_iou(logits, targets, weight=weight)[:, 0]


def _scattered(values: Tensor, pairs: tuple[Tensor, ...], competing: Tensor) -> Tensor:
    """(P,) values at their rows and tokens; (R, C), zero elsewhere."""
    empty = values.new_zeros(competing.shape)
    return empty.index_put(pairs, values)


def _select(
    focal: Tensor,
    dice: Tensor,
    iou: Tensor,
    iou_predictions: Tensor,
    *,
    competing: Tensor,
    counts: Tensor,
    config: LossConfig,
) -> MaskLosses:
    """Choose the token of every row and reduce; arguments are (R, C), ``counts`` (R,)."""
    infinity = torch.inf
    cost = (config.focal_weight * focal + config.dice_weight * dice).detach()
    chosen = cost.masked_fill(~competing, infinity).argmin(1)
    selected = iou_predictions.detach().masked_fill(~competing, -infinity).argmax(1)
    error = ((iou_predictions - iou).square() * competing).sum(1) / competing.sum(1)
    focal, dice = _pick(focal, chosen), _pick(dice, chosen)
    rows = config.focal_weight * focal + config.dice_weight * dice + config.iou_weight * error
    total = _rows_mean(rows, counts)
    result = {
        "focal": focal,
        "dice": dice,
        "iou_error": error,
        "iou": _pick(iou, chosen),
        "iou_selected": _pick(iou, selected),
    }
    summary = {name: _rows_mean(value.detach(), counts) for name, value in result.items()}
    return MaskLosses(
        total=total, chosen=chosen, summary={"loss": total.detach(), **summary}, **result
    )


def _rows_mean(values: Tensor, counts: Tensor) -> Tensor:
    return (values * counts).sum() / counts.sum().clamp(min=1.0)


def _pick(values: Tensor, token: Tensor) -> Tensor:
    return values.gather(1, token[:, None])[:, 0]


def features_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    valid_size: Tensor,
    image_size: int,
    kind: Regression = "mse",
    delta: float = 1.0,
) -> Tensor:
    """Distance of two image embeddings, averaged over channels and over what is not padding.

    Args:
        student: (B, C, s, s).
        teacher: (B, C, s, s), carries no gradient.
        valid_size: (B, 2), height and width of the unpadded image, px.
        image_size: S, side of the padded input.
        kind: ``mse``, or ``huber`` (quadratic below ``delta``, linear above).
        delta: where the Huber loss turns linear.

    Returns:
        (B,) float32.
    """
    student, teacher = student.float(), teacher.detach().float()
    if kind == "mse":
        distance = F.mse_loss(student, teacher, reduction="none")
    else:
        distance = F.huber_loss(student, teacher, reduction="none", delta=delta)
    weight = valid_coverage(valid_size, student.shape[-1], image_size=image_size)
    return (distance.mean(1, keepdim=True) * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
