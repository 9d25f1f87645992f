"""Optimiser, schedule and moving average of a recipe, from torch and timm."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from samedge.distill.recipe import Optim
from samedge.distill.student import part_of

FINETUNE = 0.1
"""Factor on the decoder's learning rate when it is fine-tuned."""


def build_optimizer(
    named: Iterable[tuple[str, nn.Parameter]], optim: Optim, *, lr: float, decoder_factor: float
) -> torch.optim.AdamW:
    """AdamW with one group a part and kind of parameter.

    Args:
        named: parameters with their names in the student.
        optim: the recipe's section.
        lr: the stage's factor on the recipe's learning rate.
        decoder_factor: further factor on the decoder's.
    """
    factors = {
        "encoder": optim.encoder_lr,
        "neck": optim.neck_lr,
        "decoder": optim.decoder_lr * decoder_factor,
    }
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            groups.setdefault((part_of(name), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": optim.lr * lr * factors[part],
                "weight_decay": optim.weight_decay if matrix else 0.0,
            }
            for (part, matrix), parameters in groups.items()
        ],
        betas=optim.betas,
    )


def lr_factor(step: int, *, steps: int, optim: Optim) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then cosine or constant."""
    if step < optim.warmup:
        return (step + 1) / optim.warmup
    if optim.schedule == "constant":
        return 1.0
    done = (step - optim.warmup) / max(1, steps - optim.warmup)
    return optim.final_lr + (1 - optim.final_lr) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def build_schedule(optimizer: torch.optim.Optimizer, optim: Optim, *, steps: int) -> LambdaLR:
    """The learning rate as a pure function of the step."""
    return LambdaLR(optimizer, lambda step: lr_factor(step, steps=steps, optim=optim))
