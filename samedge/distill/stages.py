"""What a step of the ``prompts`` stage computes: a module whose ``forward`` gives the loss.

The whole step is one ``forward``, so that ``DistributedDataParallel`` sees everything that is
differentiated, and draws from one generator seeded by the step, so that a step is a pure function
of weights, samples and its number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samedge.distill.data import Sample
from samedge.distill.losses import (
    MaskLosses,
    dice_loss,
    focal_loss,
    mask_losses,
    valid_coverage,
)
from samedge.distill.prompts import (
    PromptBatch,
    PromptConfig,
    boxes_from_masks,
    first_prompts,
    refine_prompts,
)
from samedge.distill.recipe import PromptsStage
from samedge.models.decoders import decoder_of
from samedge.models.promptable import PromptableModel
from samedge.types import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PADDING

Metrics = dict[str, Tensor]

_CERTAIN = 0.7
"""Predicted IoU from which a teacher's mask of an unlabelled picture is learned from."""

_MIN_AREA = 16
"""Pixels that such a mask has at least."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """The masks of a batch of images as rows: R = B images x M masks.

    Attributes:
        masks: (R, S, S) uint8, 0 and 1.
        valid: (R,) bool, rows that hold a mask.
        valid_size: (R, 2) int64, height and width of the row's image without padding, px.
        per_image: M.
    """

    masks: Tensor
    valid: Tensor
    valid_size: Tensor
    per_image: int


def rows_of(batch: Sample) -> Rows:
    """View a batch's masks as rows, those of one image side by side."""
    count = batch["masks"].shape[1]
    return Rows(
        masks=batch["masks"].flatten(0, 1),
        valid=batch["valid"].flatten(),
        valid_size=batch["valid_size"].repeat_interleave(count, 0),
        per_image=count,
    )


def decode_rows(
    model: PromptableModel,
    embeddings: Mapping[str, Tensor],
    *,
    prompts: PromptBatch,
    per_image: int,
) -> tuple[Tensor, Tensor]:
    """Decode the rows of a batch of images.

    Args:
        model: a model.
        embeddings: what ``model.embed`` gave for B images.
        prompts: of B x ``per_image`` rows.
        per_image: rows of one image.

    Returns:
        Low-res logits (R, 4, S/4, S/4) and IoU predictions (R, 4).
    """
    kind = decoder_of(model)
    if kind is None or not kind.repeats_images:  # by itself, later and cheaper
        embeddings = {k: v.repeat_interleave(per_image, 0) for k, v in embeddings.items()}
    return model.decode_embedded(
        embeddings,
        prompts.point_coords,
        prompts.point_labels,
        prompts.mask_input,
        prompts.has_mask_input,
    )


def picked(values: Tensor, token: Tensor) -> Tensor:
    """Of (R, C, ...) values the one of each row's token, (R, ...)."""
    return values[torch.arange(len(values), device=values.device), token]


def autocast(device: torch.device, *, enabled: bool) -> torch.autocast:
    """bf16 autocast, or none; bf16 needs no loss scaling."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@dataclasses.dataclass(frozen=True)
class Answers:
    """A teacher that looks at one batch of images.

    Attributes:
        teacher: the model, in evaluation mode.
        embeddings: what it made of the batch, by name.
        bf16: whether to compute in bf16.
    """

    teacher: PromptableModel
    embeddings: Mapping[str, Tensor]
    bf16: bool

    @classmethod
    @torch.no_grad()
    def on(cls, teacher: PromptableModel, images: Tensor, *, bf16: bool) -> Answers:
        """Let a teacher look at (B, S, S, 3) images."""
        with autocast(images.device, enabled=bf16):
            return cls(teacher, teacher.embed(images), bf16)

    @torch.no_grad()
    def logits(self, prompts: PromptBatch, *, per_image: int) -> tuple[Tensor, Tensor]:
        """The teacher's low-res logits (R, 4, S/4, S/4) and IoU predictions (R, 4)."""
        with autocast(prompts.point_coords.device, enabled=self.bf16):
            logits, ious = decode_rows(
                self.teacher, self.embeddings, prompts=prompts, per_image=per_image
            )
        return logits.float(), ious.float()

    def rows(self, rows: Rows, generator: torch.Generator) -> Rows:
        """The teacher's own masks: of the marked objects by their boxes, of the rest by points.

        A mask from a point counts when the teacher is certain of it.
        """
        prompts = _teacher_prompts(rows, generator)
        logits, ious = self.logits(prompts, per_image=rows.per_image)
        token = torch.where(prompts.ambiguous, ious[:, 1:].argmax(1) + 1, 0)
        size = rows.masks.shape[-2:]
        chosen = picked(logits, token)[:, None]
        fine = F.interpolate(chosen, size=size, mode="bilinear", align_corners=False)[:, 0]
        masks = (fine > 0) & (
            valid_coverage(rows.valid_size, size[0], image_size=size[0])[:, 0] > 0
        )
        certain = rows.valid | (picked(ious, token) > _CERTAIN)
        large = masks.flatten(1).sum(1) >= _MIN_AREA
        return dataclasses.replace(rows, masks=masks.to(torch.uint8), valid=certain & large)


def _teacher_prompts(rows: Rows, generator: torch.Generator) -> PromptBatch:
    """Exact boxes of the valid rows, uniform points in the photo for the others."""
    prompts = first_prompts(rows.masks, generator, config=PromptConfig(box_share=1, box_noise=0))
    draw = torch.rand((len(rows.masks), 2), generator=generator).to(rows.masks.device)
    points = (draw * rows.valid_size.flip(1)).floor()
    clicks = torch.stack([points, torch.zeros_like(points)], 1)
    boxes = boxes_from_masks(rows.masks).view(-1, 2, 2)
    marked = rows.valid[:, None]
    corners = prompts.point_labels.new_tensor([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT])
    click = prompts.point_labels.new_tensor([FOREGROUND, PADDING])
    return dataclasses.replace(
        prompts,
        point_coords=torch.where(marked[..., None], boxes, clicks),
        point_labels=torch.where(marked, corners, click),
        ambiguous=~rows.valid,
    )


class PromptsStep(nn.Module):
    """Prompts in the loop: a first prompt and corrective clicks, every prediction trained.

    Source: Kirillov et al., "Segment Anything", 2023, appendix A.

    Args:
        student: what is trained.
        stage: the recipe's section.
        bf16: whether to compute the network in bf16.
        teacher: gives masks or logits, as the stage says.
    """

    def __init__(
        self,
        student: PromptableModel,
        stage: PromptsStage,
        *,
        bf16: bool,
        teacher: PromptableModel | None = None,
    ) -> None:
        super().__init__()
        self.student, self.stage, self.bf16 = student, stage, bf16
        self._teacher = (teacher,)  # in a tuple: not a part of this module, nor of its state

    def train(self, mode: bool = True) -> PromptsStep:  # noqa: FBT001, FBT002 - torch's signature
        """Set training mode; a frozen encoder stays in evaluation."""
        super().train(mode)
        if self.stage.encoder == "frozen":
            self.student.image_encoder.eval()
        return self

    def forward(self, batch: Sample, seed: int) -> tuple[Tensor, Metrics]:
        """Loss and metrics of one batch.

        Args:
            batch: the samples.
            seed: of every random choice of this step.
        """
        generator = torch.Generator().manual_seed(seed)
        rows, answers = rows_of(batch), self._answers(batch["image"])
        if answers is not None and self.stage.masks == "teacher":
            rows = answers.rows(rows, generator)
        with autocast(rows.masks.device, enabled=self.bf16):
            embeddings = self._encode(batch["image"])
        prompts = first_prompts(rows.masks, generator, config=self.stage.prompts)
        totals, metrics = [], []
        for click in range(self.stage.clicks + 1):
            logits, losses = self._predict(embeddings, prompts, rows)
            total, measured = losses.total, losses.summary
            if answers is not None and self.stage.distill:
                extra = self._distill(logits, losses, prompts, rows=rows, answers=answers)
                total = total + self.stage.distill * extra
                measured = {**measured, "loss": total.detach(), "distill": extra.detach()}
            totals.append(total)
            metrics.append(measured)
            if click < self.stage.clicks:
                prompts = refine_prompts(
                    prompts,
                    picked(logits, losses.chosen),
                    masks=rows.masks,
                    generator=generator,
                    valid_size=rows.valid_size,
                    config=self.stage.prompts,
                )
        means = {name: torch.stack([m[name] for m in metrics]).mean() for name in metrics[0]}
        return torch.stack(totals).mean(), means

    def _answers(self, images: Tensor) -> Answers | None:
        (teacher,) = self._teacher
        return None if teacher is None else Answers.on(teacher, images, bf16=self.bf16)

    def _encode(self, images: Tensor) -> Mapping[str, Tensor]:
        with torch.set_grad_enabled(self.stage.encoder == "train" and torch.is_grad_enabled()):
            return self.student.embed(images)

    def _predict(
        self, embeddings: Mapping[str, Tensor], prompts: PromptBatch, rows: Rows
    ) -> tuple[Tensor, MaskLosses]:
        with autocast(rows.masks.device, enabled=self.bf16):
            logits, ious = decode_rows(
                self.student, embeddings, prompts=prompts, per_image=rows.per_image
            )
        logits = logits.float()
        return logits, mask_losses(
            logits,
            ious,
            masks=rows.masks,
            valid_size=rows.valid_size,
            ambiguous=prompts.ambiguous,
            row_valid=rows.valid,
            config=self.stage.losses,
        )

    def _distill(
        self,
        logits: Tensor,
        losses: MaskLosses,
        prompts: PromptBatch,
        *,
        rows: Rows,
        answers: Answers,
    ) -> Tensor:
        """Focal and dice of the trained token against the teacher's mask for the same prompt.

        The tokens of an ambiguous prompt have no order that two models share, so there the
        teacher's nearest to the ground truth is taken; elsewhere its token 0.
        """
        config = self.stage.losses
        taught, ious = answers.logits(prompts, per_image=rows.per_image)
        if taught.shape[-1] != logits.shape[-1]:
            size = logits.shape[-2:]
            taught = F.interpolate(taught, size=size, mode="bilinear", align_corners=False)
        best = mask_losses(
            taught,
            ious,
            masks=rows.masks,
            valid_size=rows.valid_size,
            ambiguous=prompts.ambiguous,
            row_valid=rows.valid,
            config=dataclasses.replace(config, upsample=1),
        ).chosen
        target = picked(taught, best)[:, None].sigmoid()
        mine = picked(logits, losses.chosen)[:, None]
        side = rows.masks.shape[-1]
        weight = valid_coverage(rows.valid_size, mine.shape[-1], image_size=side)
        focal = focal_loss(
            mine, target, weight=weight, gamma=config.focal_gamma, mean=config.focal_mean
        )
        dice = dice_loss(mine, target, weight=weight, power=2, smooth=config.dice_smooth)
        each = (config.focal_weight * focal + config.dice_weight * dice)[:, 0]
        counts = rows.valid.to(each.dtype)
        return (each * counts).sum() / counts.sum().clamp(min=1.0)
