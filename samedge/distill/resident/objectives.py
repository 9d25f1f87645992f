"""What a step minimises: masks on a grid twice as fine as the logits, and a quality that ranks.

Dice and Jaccard in equal parts, and a focal loss relative to the mask's own area, every mask alike
whatever its size. Of the three masks of a single click the best is trained most, the one that the
model itself would choose some, the third a little: what is chosen has to be good, not only
something. Quality is trained by cross entropy against the IoU reached, and by the IoU that is lost
when masks are drawn with a chance that rises with their predicted quality.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class ObjectivePlan:
    """Weights of the losses.

    Attributes:
        focal: of the focal loss.
        best, chosen, rest: of the masks of a single click: the best, the one chosen by predicted
            quality, and all of them.
        quality: of the cross entropy of the predicted IoU.
        ranking: of the expected loss of IoU.
        temperature: of the chances that the ranking draws with, in units of IoU.
        taught: of the cross entropy with a teacher's masks.
    """

    focal: float = 0.3
    best: float = 0.65
    chosen: float = 0.25
    rest: float = 0.1
    quality: float = 0.5
    ranking: float = 0.5
    temperature: float = 0.06
    taught: float = 0.4


def mask_terms(
    fine: Tensor, coverage: Tensor, *, inside: Tensor, focal_weight: float
) -> tuple[Tensor, Tensor]:
    """Loss and IoU of masks.

    Args:
        fine: (P, T, G, G) logits.
        coverage: (P, 1, G, G), 0 to 1.
        inside: (P, 1, G, G), 0 or 1.
        focal_weight: of the focal loss.

    Returns:
        (P, T) loss and (P, T) IoU of what is above 0.
    """
    fine, coverage, inside = fine.float(), coverage.float(), inside.float()
    chance = torch.sigmoid(fine) * inside
    shared = (chance * coverage).sum((2, 3))
    own, truth = chance.sum((2, 3)), coverage.sum((2, 3))
    dice = 1 - (2 * shared + 1) / (own + truth + 1)
    jaccard = 1 - (shared + 1) / (own + truth - shared + 1)
    entropy = F.softplus(fine) - fine * coverage
    focal = (entropy * (coverage - chance).square() * inside).sum((2, 3)) / truth.clamp(min=1)
    with torch.no_grad():
        hard = (fine > 0).float() * inside
        both = (hard * coverage).sum((2, 3))
        iou = both / (hard.sum((2, 3)) + truth - both).clamp(min=1e-6)
    return 0.5 * (dice + jaccard) + focal_weight * focal.clamp(max=20), iou


def taught_terms(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy with a teacher's masks, relative to their area; (P, T)."""
    chance = torch.sigmoid(teacher.float())
    logits = logits.float()
    entropy = F.softplus(logits) - logits * chance
    floor = F.softplus(teacher.float()) - teacher.float() * chance
    return ((entropy - floor).sum((2, 3)) / chance.sum((2, 3)).clamp(min=4.0)).clamp(max=20)


def quality_terms(predicted: Tensor, iou: Tensor) -> Tensor:
    """Cross entropy of predicted IoU above its least possible, (P, T)."""
    guess = predicted.float().clamp(1e-4, 1 - 1e-4)
    iou = iou.clamp(1e-4, 1 - 1e-4)
    entropy = -(iou * guess.log() + (1 - iou) * (1 - guess).log())
    return entropy + iou * iou.log() + (1 - iou) * (1 - iou).log()


def ranking_terms(predicted: Tensor, iou: Tensor, *, temperature: float) -> Tensor:
    """IoU expected to be lost by choosing among masks, (P,)."""
    chances = torch.softmax(predicted.float() / temperature, 1)
    return (chances * (iou.amax(1, keepdim=True) - iou)).sum(1)


def ambiguous_weights(cost: Tensor, predicted: Tensor, *, plan: ObjectivePlan) -> Tensor:
    """How much each of a click's masks is trained; (P, T)."""
    count = cost.shape[1]
    best = F.one_hot(cost.detach().argmin(1), count)
    chosen = F.one_hot(predicted.detach().argmax(1), count)
    return plan.best * best + plan.chosen * chosen + plan.rest / count


def row_mean(values: Tensor, usable: Tensor) -> Tensor:
    """Mean over the rows that count."""
    return (values * usable).sum() / usable.sum().clamp(min=1)
