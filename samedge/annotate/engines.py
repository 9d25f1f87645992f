"""The contract of an engine: who runs the annotator over many images.

An engine is a file ``_name.py`` here with ``ENGINE``. It decides where work is done, never what
comes out: every worker writes its parts itself, so that any engine may be stopped at any moment,
and another may go on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import msgspec

from samedge import _discovery
from samedge.annotate.tasks import Job, Outcome, Task
from samedge.errors import OptionError, UnknownNameError


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a machine or cluster an engine takes.

    Attributes:
        workers: processes or actors.
        gpus_per_worker: that a cluster reserves for each.
        image_s: longest time for one image, or for one tile of it; a process that takes
            longer is stopped and the image is listed. A cluster has limits of its own.

    Raises:
        OptionError: a number is out of its range.
    """

    workers: int = 1
    gpus_per_worker: float = 0.0
    image_s: float = 600.0

    def __post_init__(self) -> None:
        workers: object = self.workers
        if not isinstance(workers, int) or workers < 1:
            raise OptionError(f"workers is {self.workers!r}, expected a whole number above 0.")
        if not (self.gpus_per_worker >= 0 and self.image_s > 0):
            raise OptionError(
                f"gpus_per_worker and image_s are {self.gpus_per_worker!r} and {self.image_s!r}, "
                "expected a share of at least 0 and seconds above 0."
            )


class Engine(ABC):
    """One way to run many workers. Stateless; one instance a module, named ``ENGINE``."""

    @abstractmethod
    def run(
        self,
        tasks: Sequence[Task],
        job: Job,
        *,
        options: EngineOptions,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        """Annotate every task.

        Args:
            tasks: what is left to do, at least one.
            job: what every worker is given.
            options: how many of them.
            on_outcome: called in this thread when a task's part is on disk.

        Raises:
            SamedgeError, OSError: no worker can be started, or a part cannot be written. What was
                done stays.
        """


def names() -> tuple[str, ...]:
    """Names of all engines; nothing is imported."""
    return _discovery.names("samedge.annotate")


def get(name: str) -> Engine:
    """The engine of a name.

    Raises:
        UnknownNameError: there is none; lists the known ones.
    """
    if name not in names():
        raise UnknownNameError("engine", name, names())
    found = _discovery.load("samedge.annotate", name, attribute="ENGINE")
    assert isinstance(found, Engine)
    return found
