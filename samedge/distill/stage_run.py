"""The loop of one stage: steps, evaluations, checkpoints, until done or asked to stop."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import default_collate

from samedge.distill.checkpointing import State
from samedge.distill.data import Sample
from samedge.distill.loader import StepSampler, step_loader
from samedge.distill.optimisation import FINETUNE, build_optimizer, build_schedule
from samedge.distill.plans import Context, StagePlan, frozen_parts
from samedge.distill.progress import describe
from samedge.distill.recipe import AnyStage, PromptsStage
from samedge.distill.run_folder import BEST, LAST, RunFolder
from samedge.distill.run_log import RunLog
from samedge.distill.sources import validation_mixture
from samedge.distill.student import freeze
from samedge.distill.validation import Validation, to_device, validate
from samedge.models.promptable import PromptableModel
from samedge.types import Steps


@dataclasses.dataclass
class Position:
    """Where a run is; a part of its checkpoint.

    Attributes:
        stage: number of the stage.
        step: steps done in it.
        total: steps done in the whole run.
        seconds: time spent in steps, all sittings together.
        best: best score on the held-out photos so far.
    """

    stage: int = 0
    step: int = 0
    total: int = 0
    seconds: float = 0.0
    best: float = -1.0


@dataclasses.dataclass
class Meter:
    """What the steps of this sitting cost.

    Attributes:
        waited: seconds that steps waited for the loader.
        busy: seconds of whole steps.
        images: images of all processes.
    """

    waited: float = 0.0
    busy: float = 0.0
    images: int = 0

    @property
    def figures(self) -> dict[str, float]:
        """Images a second and the loader's share of a step; empty before the first step."""
        if not self.busy:
            return {}
        return {
            "images_per_second": self.images / self.busy,
            "loader_share": self.waited / self.busy,
        }


@dataclasses.dataclass
class Sitting:
    """What lives as long as the trainer runs, across stages.

    Attributes:
        context: recipe, data, device and rank.
        accelerator: device and processes.
        folder: of the run.
        log: of the main process; ``None`` on the others.
        steps: of the whole run, for whoever listens.
        position: where the run is.
        meter: what steps cost.
        asked_to_stop: whether a signal came in.
        validation: the newest look at the held-out photos.
    """

    context: Context
    accelerator: Accelerator
    folder: RunFolder
    log: RunLog | None
    steps: Steps
    position: Position
    meter: Meter
    asked_to_stop: Callable[[], bool]
    validation: Validation | None = None


def step_seed(seed: int, stage: int, *, step: int, rank: int) -> int:
    """Seed of everything random in one step of one process."""
    return int(np.random.SeedSequence([seed, stage, step, rank]).generate_state(1)[0])


class StageRun:
    """One stage of a run.

    Args:
        sitting: the run.
        student: what is trained, on its device.
        plan: the stage's step and samples.
        state: the checkpoint to go on from, or ``None`` at the stage's start.
    """

    def __init__(
        self, sitting: Sitting, student: PromptableModel, plan: StagePlan, *, state: State | None
    ) -> None:
        self.sitting, self.student, self.plan = sitting, student, plan
        self.recipe = sitting.context.recipe
        self.index = sitting.position.stage
        self.stage: AnyStage = self.recipe.stage[self.index]
        freeze(student, frozen_parts(self.stage))
        step = plan.module.to(sitting.context.device).train()
        if state is not None:
            self._extra().update(state)
        self.ema = self._moving_average(state)
        self.optimizer, self.schedule = self._optimisation(state)
        self.module: nn.Module = sitting.accelerator.prepare_model(step)
        self._saved = time.monotonic()

    # --- making and keeping ----------------------------------------------------------------------

    def _extra(self) -> _ExtraWeights:
        return _ExtraWeights(self.plan.module)

    def _moving_average(self, state: State | None) -> ModelEmaV3 | None:
        if not self.recipe.optim.ema:
            return None
        ema = ModelEmaV3(
            self.student, decay=self.recipe.optim.ema, use_warmup=True, warmup_power=0.75
        )
        if state is not None:
            ema.module.load_state_dict(state["ema"])
        return ema

    def _optimisation(self, state: State | None) -> tuple[torch.optim.Optimizer, LambdaLR]:
        tuned = isinstance(self.stage, PromptsStage) and self.stage.decoder == "finetune"
        optimizer = build_optimizer(
            _named_parameters(self.plan.module),
            self.recipe.optim,
            lr=self.stage.lr,
            decoder_factor=FINETUNE if tuned else 1.0,
        )
        schedule = build_schedule(optimizer, self.recipe.optim, steps=self.stage.steps)
        if state is not None:
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
        return optimizer, schedule

    @property
    def averaged(self) -> PromptableModel:
        """The weights that are evaluated and shipped."""
        model: PromptableModel = self.student if self.ema is None else self.ema.module
        return model

    def save(self) -> None:
        """Write the checkpoint and the newest weights, on the main process."""
        self._saved = time.monotonic()
        if self.sitting.log is None:
            return
        self.sitting.folder.save_state(
            {
                "position": dataclasses.asdict(self.sitting.position),
                "model": self.student.state_dict(),
                "extra": self._extra().state(),
                "ema": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
            }
        )
        self.sitting.folder.save_weights(self.averaged, LAST)

    # --- the loop --------------------------------------------------------------------------------

    def run(self, *, limit: int) -> bool:
        """Do the stage's remaining steps.

        Args:
            limit: steps of the whole run after which to stop.

        Returns:
            Whether the stage was finished.
        """
        position = self.sitting.position
        batches = self._batches()
        while position.step < self.stage.steps:
            if position.total >= limit or self._must_stop():
                self.save()
                return False
            self._one_step(batches)
            self._after_step()
        self.evaluate()
        self.save()
        return True

    def _batches(self) -> Iterator[Any]:
        context = self.sitting.context
        sampler = StepSampler(
            range(self.sitting.position.step, self.stage.steps),
            batch_size=self.stage.batch_size,
            rank=context.rank,
            world=context.world,
        )
        return iter(
            step_loader(
                self.plan.samples,
                sampler,
                collate=default_collate,
                workers=self.recipe.run.workers,
                pin_memory=context.device.type == "cuda",
            )
        )

    def _must_stop(self) -> bool:
        """Whether any process was asked to stop; all processes agree on the step."""
        accelerator = self.sitting.accelerator
        if accelerator.num_processes == 1:
            return self.sitting.asked_to_stop()
        if self.sitting.position.step % self.recipe.run.log_every:
            return False
        flag = torch.tensor(float(self.sitting.asked_to_stop()), device=accelerator.device)
        return bool(accelerator.reduce(flag) > 0)

    def _one_step(self, batches: Iterator[Any]) -> None:
        position, meter = self.sitting.position, self.sitting.meter
        started = time.perf_counter()
        batch = next(batches)
        loaded = time.perf_counter()
        metrics = self._update(batch)
        position.step += 1
        position.total += 1
        if self.ema is not None:
            self.ema.update(self.student, step=position.step)
        busy = time.perf_counter() - started
        meter.waited += loaded - started
        meter.busy += busy
        meter.images += len(batch["image"]) * self.sitting.context.world
        position.seconds += busy
        self._log(metrics)

    def _update(self, batch: Any) -> dict[str, Tensor]:
        """One optimiser step; metrics of the batch, with learning rate and gradient norm."""
        context, position = self.sitting.context, self.sitting.position
        seed = step_seed(self.recipe.run.seed, self.index, step=position.step, rank=context.rank)
        torch.manual_seed(seed)
        loss, metrics = self.module(to_device(batch, context.device), seed)
        self.sitting.accelerator.backward(loss)
        limit = self.recipe.optim.clip or float("inf")
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), limit)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        lr = torch.tensor(max(self.schedule.get_last_lr()))
        self.schedule.step()
        return {**metrics, "lr": lr, "grad_norm": norm}

    def _log(self, metrics: dict[str, Tensor]) -> None:
        position = self.sitting.position
        if self.sitting.log is None or position.step % self.recipe.run.log_every:
            return
        values = {name: float(value) for name, value in metrics.items()}
        values |= {**self.sitting.meter.figures, "seconds": position.seconds}
        self._write_row(values)
        self.sitting.steps.reach(position.total, describe(values, self.sitting.validation))

    def _write_row(self, values: dict[str, float]) -> None:
        assert self.sitting.log is not None
        kind = str(type(self.stage).__struct_config__.tag)
        self.sitting.log.write(
            self.sitting.position.total, {"stage": self.index, "kind": kind, **values}
        )

    def _after_step(self) -> None:
        step, run = self.sitting.position.step, self.recipe.run
        if step % run.eval_every == 0 and step < self.stage.steps:
            self.evaluate()
        if time.monotonic() - self._saved > run.checkpoint_minutes * 60:
            self.save()

    # --- looking at held-out photos --------------------------------------------------------------

    def _held_out(self) -> Iterator[Sample]:
        data = self.recipe.data
        mixture = validation_mixture(
            data, self.sitting.context.root, image_size=self.student.image_size
        )
        count = min(data.validation_images, len(mixture)) if mixture is not None else 0
        for first in range(0, count, self.stage.batch_size):
            assert mixture is not None
            numbers = range(first, min(first + self.stage.batch_size, count))
            yield default_collate([mixture[number] for number in numbers])

    def evaluate(self) -> None:
        """Look at the held-out photos on the main process, and keep the best weights."""
        if self.sitting.log is None or not self.plan.has_masks:
            return
        batches = self._held_out()
        first = next(batches, None)
        if first is None:
            return
        context, position = self.sitting.context, self.sitting.position
        result = validate(
            self.averaged,
            itertools.chain([first], batches),
            device=context.device,
            bf16=context.bf16,
        )
        self.plan.module.train()
        self.sitting.validation = result
        self._write_row({"val_box_miou": result.box_miou, "val_point_miou": result.point_miou})
        self.sitting.folder.save_picture(result.sheet, step=position.total)
        self.sitting.log.picture(position.total, result.sheet)
        if result.score > position.best:
            position.best = result.score
            self.sitting.folder.save_weights(self.averaged, BEST)


class _ExtraWeights:
    """What a step's module holds beside the student, such as the decoder of ``mae``."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def state(self) -> dict[str, Tensor]:
        """Tensors by name, without the student's."""
        whole = self._module.state_dict()
        return {name: t for name, t in whole.items() if not name.startswith("student.")}

    def update(self, state: State) -> None:
        """Take these tensors from a checkpoint."""
        if extra := state.get("extra"):
            self._module.load_state_dict(extra, strict=False)


def _named_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters by their names in the student; the others keep their own."""
    for name, parameter in module.named_parameters():
        yield name.removeprefix("student."), parameter
