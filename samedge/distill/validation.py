"""A quick look at a student on held-out photos: mean IoU from a box and from a central point.

This is the trainer's compass, on the padded input's frame and at the low-res logits' upsampled
grid; ``samedge eval`` measures at the original size by the protocol.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from samedge.distill.data import Sample
from samedge.distill.prompts import PromptBatch, PromptConfig, first_prompts
from samedge.distill.stages import Rows, autocast, decode_rows, picked, rows_of
from samedge.models.promptable import PromptableModel
from samedge.types import Array

Batch = TypeVar("Batch", bound=Mapping[str, Any])

_BOX = PromptConfig(box_share=1.0, box_noise=0.0)
_POINT = PromptConfig(box_share=0.0, central_share=1.0)
_TILE = 320
"""Side of one picture in the sheet of predictions, px."""


@dataclasses.dataclass(frozen=True)
class Validation:
    """What an evaluation saw.

    Attributes:
        box_miou: mean IoU of token 0 from the exact box.
        point_miou: mean IoU from the central point, the token with the highest predicted IoU.
        sheet: (H, W, 3) uint8, photos with ground truth, box and point predictions.
    """

    box_miou: float
    point_miou: float
    sheet: Array

    @property
    def score(self) -> float:
        """Mean of both."""
        return 0.5 * (self.box_miou + self.point_miou)


@torch.no_grad()
def validate(
    model: PromptableModel, batches: Iterable[Sample], *, device: torch.device, bf16: bool
) -> Validation:
    """Run a model on held-out samples; its training mode is restored.

    Args:
        model: the student, or its moving average.
        batches: samples with masks.
        device: where the model is.
        bf16: whether to compute in bf16.
    """
    was_training = model.training
    model.eval()
    scores: dict[str, list[Tensor]] = {"box": [], "point": []}
    tiles: list[Array] = []
    for batch in batches:
        moved = to_device(batch, device)
        rows = rows_of(moved)
        with autocast(device, enabled=bf16):
            embeddings = model.embed(moved["image"])
        predicted = {}
        for name, config in (("box", _BOX), ("point", _POINT)):
            prompts = first_prompts(rows.masks, torch.Generator().manual_seed(0), config=config)
            with autocast(device, enabled=bf16):
                logits, ious = decode_rows(
                    model, embeddings, prompts=prompts, per_image=rows.per_image
                )
            predicted[name] = _selected(logits.float(), ious.float(), prompts, rows)
            scores[name].append(_iou(predicted[name], rows)[rows.valid].cpu())
        if len(tiles) < 4:
            tiles += _tiles(moved, rows, predicted)
    model.train(was_training)
    means = {n: float(torch.cat(v).mean()) if v else float("nan") for n, v in scores.items()}
    return Validation(means["box"], means["point"], _sheet(tiles[:4]))


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch's tensors."""
    return cast("Batch", {k: v.to(device, non_blocking=True) for k, v in batch.items()})


def _selected(logits: Tensor, ious: Tensor, prompts: PromptBatch, rows: Rows) -> Tensor:
    """(R, S, S) bool masks of the token that the runtime would take, cut to the photo."""
    best = ious[:, 1:].argmax(1) + 1
    token = torch.where(prompts.ambiguous, best, 0)
    chosen = picked(logits, token)
    size = rows.masks.shape[-2:]
    fine = F.interpolate(chosen[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] > 0
    steps = torch.arange(size[0], device=logits.device)
    inside = steps < rows.valid_size[:, :, None]
    return fine & inside[:, 0, :, None] & inside[:, 1, None, :]


def _iou(predicted: Tensor, rows: Rows) -> Tensor:
    truth = rows.masks != 0
    union = (predicted | truth).flatten(1).sum(1)
    return (predicted & truth).flatten(1).sum(1) / union.clamp(min=1)


def _tiles(batch: Sample, rows: Rows, predicted: dict[str, Tensor]) -> list[Array]:
    """One strip a photo: ground truth, prediction from the box, prediction from the point."""
    strips = []
    for index, image in enumerate(batch["image"].cpu().numpy()):
        row = index * rows.per_image
        if not bool(rows.valid[row]):
            continue
        truth = rows.masks[row].cpu().numpy() != 0
        guesses = [predicted[n][row].cpu().numpy() for n in ("box", "point")]
        prompts = [
            first_prompts(rows.masks[row : row + 1], torch.Generator().manual_seed(0), config=c)
            for c in (_BOX, _POINT)
        ]
        marks = [p.point_coords[0].tolist() for p in prompts]
        strips.append(
            np.concatenate(
                [
                    _tile(image, truth, box=None, point=None),
                    _tile(image, guesses[0], box=[*marks[0][0], *marks[0][1]], point=None),
                    _tile(image, guesses[1], box=None, point=marks[1][0]),
                ],
                axis=1,
            )
        )
    return strips


def _tile(
    image: Array, mask: Array, *, box: list[float] | None, point: list[float] | None
) -> Array:
    """An image with a mask in orange and its prompt in white."""
    tinted = image.astype(np.float32)
    tinted[mask] = tinted[mask] * 0.45 + np.array([230, 120, 0], np.float32) * 0.55
    picture = Image.fromarray(tinted.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    if box is not None:
        draw.rectangle(box, outline="white", width=2)
    if point is not None:
        x, y = point
        draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill="white", outline="black")
    return np.asarray(picture.resize((_TILE, _TILE), Image.Resampling.BILINEAR))


def _sheet(tiles: list[Array]) -> Array:
    if not tiles:
        return np.zeros((_TILE, 3 * _TILE, 3), np.uint8)
    return np.concatenate(tiles, axis=0)
