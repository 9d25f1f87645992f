"""What every engine of the data engine has to keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from samedge.annotate.engines import Engine, EngineOptions
from samedge.annotate.parts import Parts
from samedge.annotate.tasks import Job, Outcome, Task


def check_engine(engine: Engine, tasks: Sequence[Task], job: Job) -> None:
    """Every task is told of once, after its part is on disk."""
    told: Counter[str] = Counter()
    parts = Parts(Path(job.parts))

    def listen(outcome: Outcome) -> None:
        told[outcome.name] += 1
        part = parts.part(outcome.name)
        assert part is not None, f"{outcome.name} was told of before its part was on disk"
        assert len(part.masks) == outcome.masks

    engine.run(tasks, job, options=EngineOptions(workers=2), on_outcome=listen)
    assert told == Counter(task.name for task in tasks), "not every task was told of once"
