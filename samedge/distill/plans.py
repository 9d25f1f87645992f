"""What each kind of stage needs: which parts are frozen, what a step computes, what it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from samedge._cache import cache_folder
from samedge.distill.features import FeatureCache, FeatureSamples, FeaturesStep, fill
from samedge.distill.mae import MaeStep
from samedge.distill.recipe import AnyStage, FeaturesStage, MaeStage, PromptsStage, Recipe
from samedge.distill.sources import photo_parts, training_mixture
from samedge.distill.stages import PromptsStep
from samedge.distill.student import PartName
from samedge.distill.teacher import open_model
from samedge.models.promptable import PromptableModel
from samedge.types import Steps


@dataclasses.dataclass(frozen=True)
class Context:
    """What is the same for every stage of a run.

    Attributes:
        recipe: what to do.
        root: what its paths are relative to.
        device: where models are.
        rank: of this process.
        world: number of processes.
    """

    recipe: Recipe
    root: Path
    device: torch.device
    rank: int
    world: int

    @property
    def bf16(self) -> bool:
        """Whether to compute in bf16."""
        return self.recipe.run.precision == "bf16"


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """One stage, ready to run.

    Attributes:
        module: ``module(batch, seed)`` gives loss and metrics.
        samples: numbered samples, for any number.
        has_masks: whether predictions can be compared with masks.
    """

    module: nn.Module
    samples: Dataset[Any]
    has_masks: bool


def frozen_parts(stage: AnyStage) -> frozenset[PartName]:
    """The student's parts that a stage does not train."""
    if isinstance(stage, MaeStage):
        return frozenset({"neck", "decoder"})
    if isinstance(stage, FeaturesStage):
        return frozenset({"decoder"})
    frozen: set[PartName] = {"encoder", "neck"} if stage.encoder == "frozen" else set()
    return frozenset(frozen | {"decoder"} if stage.decoder == "frozen" else frozen)


def plan_stage(
    context: Context,
    index: int,
    *,
    student: PromptableModel,
    must_stop: Callable[[], bool],
    steps: Steps,
) -> StagePlan | None:
    """Make a stage's step and samples, computing what has to be there first.

    Args:
        context: the run.
        index: which stage.
        student: what is trained.
        must_stop: asked during long preparations.
        steps: told how far they are.

    Returns:
        The plan, or ``None`` when a preparation was stopped.
    """
    stage = context.recipe.stage[index]
    if isinstance(stage, FeaturesStage):
        return _features(context, index, stage, student=student, must_stop=must_stop, steps=steps)
    mixture = training_mixture(
        context.recipe.data,
        context.root,
        image_size=student.image_size,
        seed=sample_seed(context.recipe, index),
    )
    if isinstance(stage, MaeStage):
        step = MaeStep(student, stage, bf16=context.bf16)
        return StagePlan(step, mixture, has_masks=False)
    prompts = PromptsStep(
        student, stage, bf16=context.bf16, teacher=_prompts_teacher(context, stage, student)
    )
    return StagePlan(prompts, mixture, has_masks=True)


def sample_seed(recipe: Recipe, index: int) -> int:
    """Seed of the samples of a stage."""
    return recipe.run.seed * 1000 + index


def _prompts_teacher(
    context: Context, stage: PromptsStage, student: PromptableModel
) -> PromptableModel | None:
    if not stage.teacher:
        return None
    teacher = open_model(stage.teacher, root=context.root, image_size=student.image_size)
    return teacher.to(context.device)


def _features(
    context: Context,
    index: int,
    stage: FeaturesStage,
    *,
    student: PromptableModel,
    must_stop: Callable[[], bool],
    steps: Steps,
) -> StagePlan | None:
    size = stage.teacher_size or student.image_size
    teacher = open_model(stage.teacher, root=context.root, image_size=size).to(context.device)
    samples = FeatureSamples(
        photo_parts(context.recipe.data, context.root),
        stage,
        cache=FeatureCache.for_teacher(cache_folder("embeddings"), teacher),
        image_size=student.image_size,
        teacher_size=size,
        seed=sample_seed(context.recipe, index),
    )
    complete = fill(
        samples,
        teacher,
        device=context.device,
        bf16=context.bf16,
        batch_size=stage.batch_size,
        share=(context.rank, context.world),
        must_stop=must_stop,
        steps=steps,
    )
    step = FeaturesStep(student, stage, bf16=context.bf16)
    return StagePlan(step, samples, has_masks=False) if complete else None
