"""Every engine that is found keeps the contract, and the checks find engines that do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samedge.annotate import engines
from samedge.annotate.engines import Engine, EngineOptions
from samedge.annotate.tasks import AutoSettings, Job, Outcome, Task, part_name
from samedge.annotate.worker import AutoWorker, load
from samedge.errors import UnknownNameError
from tests.contract.engine_checks import check_engine

ON_OTHER_MACHINES = {"ray"}


def marked(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.slow) if name in ON_OTHER_MACHINES else name


@pytest.fixture
def work(tmp_path: Path, toy_bundle: Path, rng: np.random.Generator) -> tuple[list[Task], Job]:
    tasks = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(path)
        tasks.append(Task(name=path.name, path=str(path)))
    settings = AutoSettings(
        bundle=str(toy_bundle), points_per_side=2, pred_iou_threshold=0.0, stability_threshold=0.0
    )
    return tasks, Job(settings=settings, parts=str(tmp_path / "parts"))


@pytest.mark.parametrize("name", [marked(name) for name in engines.names()])
@pytest.mark.filterwarnings("ignore")  # of clusters
def test_engines_keep_the_contract(name: str, work: tuple[list[Task], Job]) -> None:
    if name in ON_OTHER_MACHINES:
        pytest.importorskip(name)
    check_engine(engines.get(name), *work)


class Serial(Engine):
    """Sound, but for what a subclass does to its outcomes."""

    def run(
        self,
        tasks: Sequence[Task],
        job: Job,
        *,
        options: EngineOptions,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        with AutoWorker(job) as worker:
            for task in tasks:
                outcome = worker.annotate(load(task, job.settings))
                for told in self.told(outcome, job):
                    on_outcome(told)

    def told(self, outcome: Outcome, job: Job) -> list[Outcome]:
        return [outcome]


class Forgetful(Serial):
    def told(self, outcome: Outcome, job: Job) -> list[Outcome]:
        return [] if outcome.name == "3.png" else [outcome]


class Stammering(Serial):
    def told(self, outcome: Outcome, job: Job) -> list[Outcome]:
        return [outcome, outcome]


class Careless(Serial):
    def told(self, outcome: Outcome, job: Job) -> list[Outcome]:
        (Path(job.parts) / part_name(outcome.name)).unlink()
        return [outcome]


def test_a_sound_engine_passes(work: tuple[list[Task], Job]) -> None:
    check_engine(Serial(), *work)


@pytest.mark.parametrize("engine", [Forgetful(), Stammering(), Careless()])
def test_a_broken_engine_is_found(engine: Engine, work: tuple[list[Task], Job]) -> None:
    with pytest.raises(AssertionError):
        check_engine(engine, *work)


def test_an_unknown_engine_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="local"):
        engines.get("lcal")
