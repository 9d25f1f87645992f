"""One step's passes: a first prompt of every row, then corrections of what came out."""

from __future__ import annotations

import dataclasses
import functools
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from samedge.distill.resident.clicks import PromptPlan, Prompts, correct, first_prompts
from samedge.distill.resident.objectives import (
    ObjectivePlan,
    ambiguous_weights,
    mask_terms,
    quality_terms,
    ranking_terms,
    row_mean,
    taught_terms,
)
from samedge.distill.resident.scenes import Scenes
from samedge.distill.resident.student import Student
from samedge.models._pyramid import ImageFeatures
from samedge.models.click_decoder import doubled, doubling

FIRST_CORRECTION = 5
"""Slot of the first correcting click; slot 6 is left for a second one."""


class Terms(Protocol):
    """As ``objectives.mask_terms``, perhaps compiled."""

    def __call__(
        self, fine: Tensor, coverage: Tensor, *, inside: Tensor, focal_weight: float
    ) -> tuple[Tensor, Tensor]:
        """Cost and IoU of every mask."""


@dataclasses.dataclass(frozen=True)
class Targets:
    """What the rows of a step are compared with.

    Attributes:
        coverage: (R, 1, S/2, S/2), the masks averaged.
        inside: (R, 1, S/2, S/2), 1 where there is picture.
        usable: (R,) float.
        group: rows of a picture.
        scale: pixels a cell.
    """

    coverage: Tensor
    inside: Tensor
    usable: Tensor
    group: int
    scale: float

    def half(self, which: int) -> Targets:
        """The rows of the first or the second half of each picture."""
        return dataclasses.replace(
            self,
            coverage=split_rows(self.coverage, self.group)[which],
            inside=split_rows(self.inside, self.group)[which],
            usable=split_rows(self.usable, self.group)[which],
        )


@dataclasses.dataclass
class Outcome:
    """Losses and means of a step; ``first`` are the first pass's logits, for others to follow."""

    loss: Tensor
    means: dict[str, Tensor]
    first: Tensor


def targets_of(scenes: Scenes, group: int) -> Targets:
    """Average the masks onto the grid of the loss."""
    coverage = F.avg_pool2d(scenes.masks[:, None].to(torch.float16), 2)
    cells = coverage.shape[-1]
    scale = scenes.masks.shape[-1] / cells
    steps = (torch.arange(cells, device=coverage.device) + 0.5) * scale
    inside = (steps < scenes.valid[..., None]).to(torch.float16)  # (B, 2, cells)
    inside = (inside[:, 0, :, None] * inside[:, 1, None, :])[:, None]
    inside = inside.repeat_interleave(group, 0)
    return Targets(coverage, inside, scenes.usable.float(), group, scale)


def split_rows(rows: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Rows of boxes and several clicks, and rows of single clicks."""
    grouped = rows.reshape(-1, group, *rows.shape[1:])
    return grouped[:, : group // 2].flatten(0, 1), grouped[:, group // 2 :].flatten(0, 1)


def join_rows(first: Tensor, second: Tensor, *, group: int) -> Tensor:
    """The inverse of :func:`split_rows`."""
    half = group // 2
    both = [rows.reshape(-1, half, *rows.shape[1:]) for rows in (first, second)]
    return torch.cat(both, 1).flatten(0, 1)


def refine(logits: Tensor) -> Tensor:
    """Logits on the grid of the loss, as the runtime upsamples them."""
    return doubled(logits, _doubling(logits.shape[-1], logits.device))


@functools.cache
def _doubling(side: int, device: torch.device) -> Tensor:
    return doubling(side).to(device)


@dataclasses.dataclass(frozen=True)
class Passes:
    """How a step is run.

    Attributes:
        prompts: how prompts are drawn.
        objective: weights of the losses.
        corrections: clicks after the first prompt, at most 2.
        terms: ``mask_terms``, perhaps compiled.
        later: weight of a correction's loss beside the first prompt's.
    """

    prompts: PromptPlan
    objective: ObjectivePlan
    corrections: int = 2
    terms: Terms = mask_terms
    later: float = 0.7

    def run(
        self,
        student: Student,
        features: ImageFeatures,
        *,
        first: Prompts,
        targets: Targets,
        generator: torch.Generator,
        teacher: Tensor | None = None,
    ) -> Outcome:
        """All passes of one student over one batch."""
        prompts = first
        logits, quality = student.decode(features, prompts)
        loss, means, chosen, fine = self._first(logits, quality, targets)
        if teacher is not None:
            taught = self._taught(logits, teacher, targets)
            loss, means["taught"] = loss + self.objective.taught * taught, taught.detach()
        outcome = Outcome(loss, means, logits.detach())
        for step in range(self.corrections):
            prompts = correct(
                prompts,
                chosen.detach(),
                fine=fine.detach(),
                coverage=targets.coverage,
                inside=targets.inside,
                slot=FIRST_CORRECTION + step,
                plan=self.prompts,
                generator=generator,
                scale=targets.scale,
            )
            logits, quality = student.decode(features, prompts)
            chosen = logits[:, :1]
            fine = refine(chosen)
            part, iou = self._clear(fine, quality[:, :1], targets)
            outcome.loss = outcome.loss + self.later * part
            outcome.means[f"iou_{step + 2}"] = row_mean(iou[:, 0], targets.usable)
        return outcome

    def _clear(self, fine: Tensor, quality: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Loss of rows whose prompt is clear, (P, 1) masks."""
        cost, iou = self.terms(
            fine, targets.coverage, inside=targets.inside, focal_weight=self.objective.focal
        )
        judged = quality_terms(quality, iou)
        total = cost[:, 0] + self.objective.quality * judged[:, 0]
        return row_mean(total, targets.usable), iou

    def _first(
        self, logits: Tensor, quality: Tensor, targets: Targets
    ) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
        """Loss, means, and the masks that the runtime would take, plain and refined."""
        o, group = self.objective, targets.group
        (clear, open_), (sure, unsure) = split_rows(logits, group), split_rows(quality, group)
        fine = refine(clear[:, :1])
        loss, iou = self._clear(fine, sure[:, :1], targets.half(0))
        means = {"box": row_mean(iou[:, 0], targets.half(0).usable)}

        asked, predicted = targets.half(1), unsure[:, 1:]
        fine_open = refine(open_[:, 1:])
        cost, iou = self.terms(fine_open, asked.coverage, inside=asked.inside, focal_weight=o.focal)
        weights = ambiguous_weights(cost, predicted, plan=o)
        total = (cost * weights).sum(1) + o.quality * quality_terms(predicted, iou).mean(1)
        total = total + o.ranking * ranking_terms(predicted, iou, temperature=o.temperature)
        pick = predicted.argmax(1)
        index = pick.view(-1, 1, 1, 1)
        means["click"] = row_mean(iou.gather(1, pick[:, None])[:, 0], asked.usable)
        means["oracle"] = row_mean(iou.amax(1), asked.usable)
        taken = torch.take_along_dim(open_[:, 1:], index, 1)
        taken_fine = torch.take_along_dim(fine_open, index, 1)
        loss = loss + row_mean(total, asked.usable)
        chosen = join_rows(clear[:, :1], taken, group=group)
        return loss, means, chosen, join_rows(fine, taken_fine, group=group)

    def _taught(self, logits: Tensor, teacher: Tensor, targets: Targets) -> Tensor:
        """Likeness of the first pass's masks with a teacher's."""
        own, other = split_rows(logits, targets.group), split_rows(teacher, targets.group)
        clear = taught_terms(own[0][:, :1], other[0][:, :1])[:, 0]
        open_ = taught_terms(own[1][:, 1:], other[1][:, 1:]).mean(1)
        return row_mean(clear, targets.half(0).usable) + row_mean(open_, targets.half(1).usable)


def start(
    scenes: Scenes, targets: Targets, *, plan: PromptPlan, generator: torch.Generator
) -> Prompts:
    """The first prompts of a step."""
    return first_prompts(
        scenes.masks, targets.coverage, group=targets.group, plan=plan, generator=generator
    )
