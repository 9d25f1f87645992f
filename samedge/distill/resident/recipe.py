"""What a resident run is asked to do; ``nano.toml`` beside this file is the one that was run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec

from samedge.distill.resident.clicks import PromptPlan
from samedge.distill.resident.objectives import ObjectivePlan
from samedge.distill.resident.views import ViewPlan
from samedge.models._pyramid import PyramidConfig


@dataclasses.dataclass(frozen=True)
class StudentPlan:
    """One model of a run.

    Attributes:
        name: of its files.
        encoder: what to build.
        init: an earlier checkpoint with the same trunk, whose backbone is taken.
        lr: peak learning rate of what is new.
        backbone_lr: of the backbone, as a share of it.
        corrections: clicks after the first prompt.
        every: takes part in every how many steps; its first model teaches the others.
    """

    name: str
    encoder: PyramidConfig
    init: str | None = None
    lr: float = 2e-3
    backbone_lr: float = 0.25
    corrections: int = 2
    every: int = 1


@dataclasses.dataclass(frozen=True)
class ResidentRecipe:
    """A run.

    Attributes:
        students: models, trained on the same batches; the first one teaches the others.
        views: what a batch consists of.
        prompts: how prompts are drawn.
        objective: weights of the losses.
        sources: share of each source.
        balanced: sources whose photos are drawn as often as they have masks.
        cut_from: sources whose objects are pasted.
        pasted: pictures of a batch that get pasted objects.
        weight_decay: of AdamW.
        warmup_seconds: until the learning rate has its peak; it then falls as a cosine to zero,
            which it reaches when the time is up, however fast the machine is.
        ema: share of the moving average that stays with every step.
        clip: largest norm of the gradient.
        check_every: seconds between looks at held-out photos, each with a checkpoint.
        seed: of everything.
    """

    students: tuple[StudentPlan, ...]
    views: ViewPlan = dataclasses.field(default_factory=ViewPlan)
    prompts: PromptPlan = dataclasses.field(default_factory=PromptPlan)
    objective: ObjectivePlan = dataclasses.field(default_factory=ObjectivePlan)
    sources: dict[str, float] = dataclasses.field(default_factory=dict)
    balanced: tuple[str, ...] = ("coco", "coco_other")
    cut_from: tuple[str, ...] = ("coco", "coco_other", "animals")
    pasted: int = 10
    weight_decay: float = 0.03
    warmup_seconds: float = 12.0
    ema: float = 0.998
    clip: float = 2.0
    check_every: float = 90.0
    seed: int = 0


def load_recipe(path: Path) -> ResidentRecipe:
    """Read a recipe; unknown names are errors."""
    document: dict[str, Any] = msgspec.toml.decode(path.read_text())
    students = tuple(
        StudentPlan(**{**plan, "encoder": PyramidConfig(**plan["encoder"])})
        for plan in document.pop("student")
    )
    for name, kind in (("views", ViewPlan), ("prompts", PromptPlan), ("objective", ObjectivePlan)):
        if name in document:
            document[name] = kind(**_tuples(document[name]))
    return ResidentRecipe(students=students, **_tuples(document))


def _tuples(options: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
