"""The loop: as many steps as fit the time, the learning rate falling to zero with it.

    python -m samedge.distill.resident.train RECIPE --data PACK --seconds 540 --output runs/resident

A run that is cut off leaves its last checkpoint; ``--init`` lets a new one go on from it.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samedge.distill.resident.check import check, summary
from samedge.distill.resident.objectives import mask_terms
from samedge.distill.resident.passes import Outcome, Passes, start, targets_of
from samedge.distill.resident.recipe import ResidentRecipe, StudentPlan, load_recipe
from samedge.distill.resident.scenes import draw_scenes, object_bank
from samedge.distill.resident.store import Store, load_store
from samedge.distill.resident.student import Average, Student, save_student, start_from
from samedge.distill.resident.views import photo_weights
from samedge.files.writing import write_text

_LOG = logging.getLogger(__name__)

_LOG_EVERY = 25
"""Steps between rows of the log, and between waits for the device."""


class Learner:
    """One model in training: weights, average, optimiser.

    Args:
        plan: what it is.
        recipe: of the run.
        device: where it lives.
        folder: where ``init`` files lie.
    """

    def __init__(
        self, plan: StudentPlan, recipe: ResidentRecipe, device: torch.device, folder: Path
    ) -> None:
        self.plan = plan
        self.student = Student(plan.encoder)
        if plan.init is not None:
            start_from(self.student, folder / plan.init)
        self.student.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = Average(self.student, recipe.ema)
        self.optimiser = torch.optim.AdamW(
            _groups(self.student, plan, recipe.weight_decay),
            lr=plan.lr,
            betas=(0.9, 0.98),
            fused=device.type == "cuda",
        )
        self.peaks = [group["lr"] for group in self.optimiser.param_groups]
        self.parameters = [p for p in self.student.parameters() if p.requires_grad]

    def step(self, loss: Tensor, share: float, *, clip: float) -> None:
        """Learn from a loss at a share of the peak rate."""
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.parameters, clip, foreach=True)
        if norm.is_cuda:  # a step that is not finite is left out, without asking the host
            self.optimiser.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update()


def _groups(student: Student, plan: StudentPlan, decay: float) -> list[dict[str, object]]:
    """The backbone and the rest, each with and without weight decay."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in student.named_parameters():
        key = (name.startswith("image_encoder.backbone."), parameter.ndim > 1)
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": plan.lr * (plan.backbone_lr if backbone else 1.0),
            "weight_decay": decay if weight else 0.0,
        }
        for (backbone, weight), parameters in groups.items()
    ]


def rate(elapsed: float, total: float, *, warmup: float) -> float:
    """Share of the peak learning rate: a short rise, then a cosine that ends with the time."""
    if elapsed < warmup:
        return max(elapsed / warmup, 0.02)
    progress = min((elapsed - warmup) / max(total - warmup, 1e-6), 1.0)
    return max(0.5 * (1 + math.cos(math.pi * progress)), 0.0)


class Run:
    """A run in progress.

    Args:
        recipe: what to do.
        store: photos on the device.
        output: folder for checkpoints and the log.
        folder: where ``init`` files lie.
        compiled: let torch compile models and losses.
    """

    def __init__(
        self,
        recipe: ResidentRecipe,
        store: Store,
        output: Path,
        *,
        folder: Path,
        compiled: bool = False,
    ) -> None:
        self.recipe, self.store, self.output = recipe, store, output
        self.device = store.photos.device
        torch.manual_seed(recipe.seed)
        self.generator = torch.Generator(self.device).manual_seed(recipe.seed)
        self.learners = [Learner(p, recipe, self.device, folder) for p in recipe.students]
        self.chances = photo_weights(store, recipe.sources, balanced=recipe.balanced)
        self.bank = object_bank(store, recipe.cut_from, most=3000, least_area=1500.0)
        self.steps = self.pictures = 0
        self.history: list[dict[str, object]] = []
        self.checks: list[dict[str, object]] = []
        terms = torch.compile(mask_terms, dynamic=False) if compiled else mask_terms
        self.passes = [
            Passes(recipe.prompts, recipe.objective, plan.corrections, terms)
            for plan in recipe.students
        ]
        if compiled:  # the decoders are alike: the second is found in the compiler's cache
            torch._dynamo.config.suppress_errors = True
            self.learners[0].student.image_encoder.compile(dynamic=False)
            for learner in self.learners:
                learner.student.decoder.compile(dynamic=False)

    def warm(self) -> None:
        """Steps without learning: kernels are compiled and chosen before the clock starts."""
        for _ in range(2 * max(learner.plan.every for learner in self.learners)):
            self.step(0.0)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.steps = self.pictures = 0
        for learner in self.learners:
            learner.average.steps = 0

    def step(self, share: float) -> dict[str, Tensor]:
        """One batch through every model whose turn it is; means for the log."""
        r = self.recipe
        with torch.no_grad():
            scenes = draw_scenes(
                self.store,
                self.chances,
                bank=self.bank,
                plan=r.views,
                pasted=r.pasted,
                gen=self.generator,
            )
            targets = targets_of(scenes, r.views.masks)
            first = start(scenes, targets, plan=r.prompts, generator=self.generator)
        means: dict[str, Tensor] = {}
        teacher: Tensor | None = None
        for learner, passes in zip(self.learners, self.passes, strict=True):
            if self.steps % learner.plan.every:
                continue
            with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
                features = learner.student.encode(scenes.images)
                outcome: Outcome = passes.run(
                    learner.student,
                    features,
                    first=first,
                    targets=targets,
                    generator=self.generator,
                    teacher=teacher,
                )
            learner.step(outcome.loss, share, clip=r.clip)
            teacher = outcome.first if teacher is None else teacher
            means[f"{learner.plan.name}.loss"] = outcome.loss.detach()
            means |= {f"{learner.plan.name}.{k}": v for k, v in outcome.means.items()}
        self.steps += 1
        self.pictures += r.views.pictures
        return means

    def fit(self, seconds: float) -> None:
        """Train until the time is up, then look at the held-out photos once more."""
        begun = time.monotonic()
        next_check = self.recipe.check_every
        while (elapsed := time.monotonic() - begun) < seconds:
            means = self.step(rate(elapsed, seconds, warmup=self.recipe.warmup_seconds))
            if self.steps % _LOG_EVERY == 0 or self.steps == 1:
                self._log(time.monotonic() - begun, means)  # waits for the device
            elif self.steps % 5 == 0 and self.device.type == "cuda":
                torch.cuda.synchronize()
            if elapsed > next_check and seconds - elapsed > 20:
                self.check(elapsed)
                next_check += self.recipe.check_every
        self.check(time.monotonic() - begun)

    def _log(self, elapsed: float, means: dict[str, Tensor]) -> None:
        values = {name: round(float(value), 4) for name, value in means.items()}
        row: dict[str, object] = {
            "step": self.steps,
            "seconds": round(elapsed, 1),
            "pictures": self.pictures,
            **values,
        }
        self.history.append(row)
        if self.steps % (4 * _LOG_EVERY) == 0 or self.steps == 1:
            _LOG.info("%s", row)

    def check(self, elapsed: float) -> None:
        """Look at held-out photos, write checkpoints and logs."""
        for learner in self.learners:
            with torch.backends.cudnn.flags(benchmark=False):
                means = check(learner.average.student, self.store)
                coco = check(learner.average.student, self.store, sources=("coco", "coco_other"))
            row: dict[str, object] = {
                "model": learner.plan.name,
                "step": self.steps,
                "seconds": round(elapsed, 1),
            }
            row |= {"pictures": self.pictures, **means}
            self.checks.append(row | {f"coco_{k}": v for k, v in coco.items()})
            _LOG.info("%s %d %.0f s: %s", learner.plan.name, self.steps, elapsed, summary(means))
            _LOG.info("    coco: %s", summary(coco))
            save_student(
                learner.average.student,
                self.output / f"{learner.plan.name}.safetensors",
                name=learner.plan.name,
            )
        write_csv(self.output / "steps.csv", self.history)
        write_csv(self.output / "checks.csv", self.checks)
        record: dict[str, Any] = {
            "steps": self.steps,
            "pictures": self.pictures,
            "seconds": round(elapsed, 1),
        }
        record |= {"recipe": dataclasses.asdict(self.recipe), "last": self.checks[-2:]}
        write_text(self.output / "run.json", json.dumps(record, indent=1))


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    """Write rows, whose columns may differ."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def main() -> None:
    """Train."""
    begun = time.monotonic()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="parts of a pack")
    parser.add_argument("--seconds", type=float, required=True, help="decoding included")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--init-folder", type=Path, default=Path())
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    store = load_store(arguments.data, workers=arguments.workers)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.benchmark_limit = 2  # more takes minutes to try
    run = Run(
        load_recipe(arguments.recipe),
        store.to(device),
        arguments.output,
        folder=arguments.init_folder,
        compiled=arguments.compile,
    )
    _LOG.info("ready after %.0f s: %d photos", time.monotonic() - begun, len(store.photos))
    run.warm()
    _LOG.info("warm after %.0f s", time.monotonic() - begun)
    run.fit(arguments.seconds - (time.monotonic() - begun))


if __name__ == "__main__":
    main()
