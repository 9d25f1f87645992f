"""In which order photos come up: those first whose annotation teaches most, as far as is known."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from samedge.annotate.ranking import (
    SCHEMA,
    Measured,
    Ranking,
    ordered,
    read_ranking,
    write_ranking,
)
from samedge.annotate.tasks import PartError, Task
from samedge.errors import DatasetError

logger = logging.getLogger(__name__)

Order = Literal["rank", "name"]


class PhotoQueue:
    """The photos in their order, which changes while the model is asked about them.

    Args:
        tasks: all photos, sorted by name.
        output: where ``annotate --rank`` leaves its ranking.
        bundle_id: whose doubts count.
        order: ``rank``, or ``name`` for the order of the names.

    Attributes:
        notes: what people should know about the order.
    """

    def __init__(
        self, tasks: Sequence[Task], output: Path, *, bundle_id: str, order: Order
    ) -> None:
        self.order, self._output, self._bundle_id = order, output, bundle_id
        self._tasks = {task.name: task for task in tasks}
        self._names = list(self._tasks)
        self._measured: dict[str, Measured] = {}
        self._failures: list[tuple[str, PartError]] = []
        self._asked: set[str] = set()
        self.notes: list[str] = []
        if order == "rank":
            self._take_over()

    def tasks(self) -> list[Task]:
        """All photos in the order in which they come up."""
        return [self._tasks[name] for name in self._names]

    @property
    def ranked(self) -> int:
        """Photos that the model was asked about."""
        return len(self._asked)

    def unmeasured(self) -> list[Task]:
        """Photos that the model was not asked about, in their order."""
        if self.order != "rank":
            return []
        return [self._tasks[name] for name in self._names if name not in self._asked]

    def add(self, name: str, measured: Measured | PartError) -> None:
        """Take note of a photo's doubts, or of why there are none.

        Raises:
            WriteError: the ranking was complete and cannot be written.
        """
        self._asked.add(name)
        if isinstance(measured, PartError):
            self._failures.append((name, measured))
        else:
            self._measured[name] = measured
        if len(self._asked) == len(self._tasks):
            self._finish()
        else:
            self._sort_known()

    def _sort_known(self) -> None:
        """By uncertainty while photos are missing: novelty needs all of them."""
        doubts = {name: one.ranked.uncertainty for name, one in self._measured.items()}
        # A new list: others read the old one meanwhile.
        self._names = sorted(self._names, key=lambda name: -doubts.get(name, -1.0))

    def _finish(self) -> None:
        found = [self._measured[name] for name in sorted(self._measured)]
        images = ordered(found)
        ranking = Ranking(
            schema=SCHEMA, bundle_id=self._bundle_id, images=images, failures=self._failures
        )
        self._follow(ranking)
        write_ranking(self._output, ranking)

    def _take_over(self) -> None:
        try:
            ranking = read_ranking(self._output)
        except DatasetError as error:
            logger.warning("%s", error)
            self.notes.append(f"{error} The photos are ranked anew.")
            return
        if ranking is None or ranking.bundle_id != self._bundle_id:
            return
        known = {image.name for image in ranking.images} | {name for name, _ in ranking.failures}
        if known >= set(self._tasks):
            self._follow(ranking)

    def _follow(self, ranking: Ranking) -> None:
        places = {image.name: place for place, image in enumerate(ranking.images)}
        self._names = sorted(self._names, key=lambda name: places.get(name, len(places)))
        self._asked = set(self._tasks)
