"""The engine of one machine: how many processes, and when it gives up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from samedge.annotate import _local
from samedge.annotate.engines import EngineOptions
from samedge.annotate.process import DiedError
from samedge.annotate.tasks import AutoSettings, Job, Task
from samedge.errors import InferenceError, OptionError


@pytest.mark.parametrize(
    "numbers", [{"workers": 0}, {"workers": 1.5}, {"image_s": 0.0}, {"gpus_per_worker": -1.0}]
)
def test_no_workers_and_no_time_are_refused(numbers: dict[str, Any]) -> None:
    """Without a worker nothing was done, and nobody told."""
    with pytest.raises(OptionError, match="expected"):
        EngineOptions(**numbers)


def test_starts_that_failed_long_ago_do_not_count(tmp_path: Path) -> None:
    """A run of days may lack memory for a moment more than twice."""
    job = Job(settings=AutoSettings(), parts=str(tmp_path))
    keeper = _local._Keeper(_local._Shared([], job), EngineOptions())
    early, late = (DiedError("it died", has_opened=opened) for opened in (False, True))
    for _ in range(2):
        keeper._bury(early)
        keeper._bury(early)
        keeper._held.extend(Task(name=name, path=name) for name in "ab")
        keeper._bury(late)
    keeper._bury(early)
    keeper._bury(early)
    with pytest.raises(InferenceError, match="No worker can be started"):
        keeper._bury(early)
