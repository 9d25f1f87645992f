"""The trainer: the stages of a recipe, one after the other, interruptible at any step.

A run is a function of its recipe, its data and the number of processes: samples and random choices
depend on the seed and the step alone, so that a resumed run ends with the weights of one that was
never interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from samedge.distill.checkpointing import State
from samedge.distill.plans import Context, plan_stage
from samedge.distill.recipe import Recipe
from samedge.distill.recipe_file import parse_recipe, recipe_text
from samedge.distill.run_folder import RunFolder, provenance_of
from samedge.distill.run_log import RunLog
from samedge.distill.sources import training_mixture
from samedge.distill.stage_run import Meter, Position, Sitting, StageRun
from samedge.distill.student import build_student, initialise
from samedge.models.promptable import PromptableModel
from samedge.types import Progress, Stage, Steps


@dataclasses.dataclass(frozen=True)
class DistillResult:
    """How a run ended.

    Attributes:
        output: the run's folder.
        steps: steps done, of all stages together.
        total_steps: steps of the whole recipe.
        seconds: time spent in steps, all sittings together.
        interrupted: whether a signal ended it early.
        is_main: whether this is the process that reports, of several.
        box_miou: of the last evaluation on the held-out photos, or ``None``.
        point_miou: likewise, from one central click.
        loader_share: share of the time that the steps of this sitting waited for data.
        images_per_second: of this sitting, all processes together.
    """

    output: Path
    steps: int
    total_steps: int
    seconds: float
    interrupted: bool
    is_main: bool
    box_miou: float | None
    point_miou: float | None
    loader_share: float | None
    images_per_second: float | None


def distill(
    recipe: str | Path,
    data: Path,
    *,
    output: Path,
    resume: bool = False,
    max_steps: int | None = None,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> DistillResult:
    """Train a student by a recipe.

    Args:
        recipe: a TOML file, or the name of a shipped recipe.
        data: what the recipe's paths are relative to.
        output: the run's folder; made where it is missing.
        resume: go on from the last checkpoint in ``output``.
        max_steps: stop after this many steps of the whole run, as if interrupted.
        progress: hears of the steps whose figures are logged.
        stage: is told the figures, and how far a preparation is.

    Raises:
        UnknownNameError: no such recipe, encoder or option.
        RecipeError: the recipe is wrong, or not the one that the run was started with.
        DatasetError: the data is missing or malformed.
        CheckpointError: nothing to resume from, a run in ``output`` already, or weights that do
            not fit.
    """
    text = recipe_text(recipe)
    parsed = parse_recipe(text)
    folder = RunFolder(Path(output), parsed, text)
    with _thread_count(parsed.run.threads), _stop_on_signal() as stop:
        run = _Run(parsed, folder, root=Path(data), stop=stop)
        return run.carry_out(resume=resume, max_steps=max_steps, listeners=(progress, stage))


@contextlib.contextmanager
def _thread_count(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set; a second signal ends the process at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Run:
    """One sitting of a run.

    Args:
        recipe: what to do.
        folder: where its files are.
        root: what the recipe's paths are relative to.
        stop: set when the run was asked to stop.
    """

    def __init__(
        self, recipe: Recipe, folder: RunFolder, *, root: Path, stop: threading.Event
    ) -> None:
        self.recipe, self.folder, self.stop = recipe, folder, stop
        self.accelerator = Accelerator(
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)]
        )
        self.context = Context(
            recipe=recipe,
            root=root,
            device=self.accelerator.device,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )

    def carry_out(
        self,
        *,
        resume: bool,
        max_steps: int | None,
        listeners: tuple[Progress | None, Stage | None],
    ) -> DistillResult:
        """Do what is left of the recipe."""
        state = self.folder.state() if resume else None
        position = Position(**state["position"]) if state else Position()
        weights = state["model"] if state else self._first_weights()
        if not resume:  # after the weights: what they lack leaves no folder behind
            self._begin()
        total = sum(stage.steps for stage in self.recipe.stage)
        is_main = bool(self.accelerator.is_main_process)
        progress, told = listeners if is_main else (None, None)
        steps = Steps(total, progress=progress, stage=told)
        sitting = Sitting(
            context=self.context,
            accelerator=self.accelerator,
            folder=self.folder,
            log=RunLog(self.folder.path, done=position.total) if is_main else None,
            steps=steps,
            position=position,
            meter=Meter(),
            asked_to_stop=self.stop.is_set,
        )
        steps.reach(position.total)
        self._stages(sitting, weights, state, limit=min(total, max_steps or total))
        if sitting.log is not None:
            sitting.log.close()
        return self._result(sitting, total)

    def _begin(self) -> None:
        if self.accelerator.is_main_process:
            facts = provenance_of(self.context.device, processes=self.context.world)
            self.folder.begin(facts=facts)
        self.accelerator.wait_for_everyone()

    def _stages(
        self, sitting: Sitting, weights: dict[str, Tensor], state: State | None, *, limit: int
    ) -> None:
        """Run stage after stage, each from the last one's weights."""
        position = sitting.position
        while position.stage < len(self.recipe.stage):
            if position.step < self.recipe.stage[position.stage].steps:
                student = self._student(weights, position.stage)
                plan = plan_stage(
                    self.context,
                    position.stage,
                    student=student,
                    must_stop=self.stop.is_set,
                    steps=sitting.steps,
                )
                if plan is None:
                    return
                self.accelerator.wait_for_everyone()
                if not StageRun(sitting, student, plan, state=state).run(limit=limit):
                    return
                weights = student.state_dict()
            state = None
            position.stage, position.step = position.stage + 1, 0

    def _student(self, weights: dict[str, Tensor], index: int) -> PromptableModel:
        student = build_student(self.recipe, image_size=self.recipe.stage_size(index))
        student.load_state_dict(weights)
        student.to(self.context.device)
        if self.recipe.run.channels_last:
            student.image_encoder.to(memory_format=torch.channels_last)
        return student

    def _first_weights(self) -> dict[str, Tensor]:
        """The weights that the first stage starts from: the same on every process."""
        torch.manual_seed(self.recipe.run.seed)
        size = self.recipe.stage_size(0)
        student = build_student(self.recipe, image_size=size)
        samples = training_mixture(
            self.recipe.data, self.context.root, image_size=size, seed=self.recipe.run.seed
        )
        initialise(student, self.recipe.model, root=self.context.root, samples=samples)
        return student.state_dict()

    def _result(self, sitting: Sitting, total: int) -> DistillResult:
        figures, validation = sitting.meter.figures, sitting.validation
        return DistillResult(
            output=self.folder.path,
            steps=sitting.position.total,
            total_steps=total,
            seconds=sitting.position.seconds,
            interrupted=self.stop.is_set() and sitting.position.total < total,
            is_main=bool(self.accelerator.is_main_process),
            box_miou=validation.box_miou if validation else None,
            point_miou=validation.point_miou if validation else None,
            loader_share=figures.get("loader_share"),
            images_per_second=figures.get("images_per_second"),
        )
