"""The engine of a cluster: the same worker as actors of Ray Data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samedge.annotate.engines import Engine, EngineOptions
from samedge.annotate.tasks import Job, Outcome, PartError, Task
from samedge.errors import BackendUnavailableError
from samedge.machine.libraries import library

if TYPE_CHECKING:
    from samedge.annotate.worker import AutoWorker

packages = ("ray",)
INSTALL = "pip install 'samedge[ray]'"
_BATCH = 4  # images that an actor takes at a time

Batch = dict[str, "np.ndarray[Any, Any]"]


class RayWorker:
    """An actor of ``ray.data``: rows of tasks in, rows of outcomes out, the parts on shared disk.

    Rows keep their ``name``, so that Ray's own checkpoints work with it too.

    Args:
        job: what all workers of a run share.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._worker: AutoWorker | None = None

    def __call__(self, batch: Mapping[str, np.ndarray[Any, Any]]) -> Batch:
        """Annotate a few images.

        Args:
            batch: columns ``name`` and ``path``.

        Returns:
            Columns ``name``, ``masks``, ``seconds``, ``kind``, ``message`` and ``remedy``; the last
            three are empty where all went well.
        """
        from samedge.annotate.worker import AutoWorker, load

        if self._worker is None:
            self._worker = AutoWorker(self._job)
        rows = []
        for name, path in zip(batch["name"], batch["path"], strict=True):
            task = Task(name=str(name), path=str(path))
            rows.append(self._worker.annotate(load(task, self._job.settings)))
        return {
            "name": np.array([row.name for row in rows], object),
            "masks": np.array([row.masks for row in rows]),
            "seconds": np.array([row.seconds for row in rows]),
            "kind": np.array([row.error.kind if row.error else "" for row in rows], object),
            "message": np.array([row.error.message if row.error else "" for row in rows], object),
            "remedy": np.array([row.error.remedy if row.error else "" for row in rows], object),
        }


class _Ray(Engine):
    def run(
        self,
        tasks: Sequence[Task],
        job: Job,
        *,
        options: EngineOptions,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        data = _library()
        rows = [{"name": task.name, "path": task.path} for task in tasks]
        dataset = data.from_items(rows, override_num_blocks=_blocks(len(rows), options.workers))
        made = dataset.map_batches(
            RayWorker,
            fn_constructor_kwargs={"job": job},
            batch_size=_BATCH,
            concurrency=(1, options.workers),
            num_gpus=options.gpus_per_worker,
        )
        for row in made.iter_rows():
            on_outcome(_outcome(row))


def _library() -> Any:
    try:
        return library("ray.data")
    except ImportError as error:
        raise BackendUnavailableError(
            f"The engine ray needs Ray Data, which is not here ({error}): {INSTALL}"
        ) from error


def _blocks(rows: int, workers: int) -> int:
    """Blocks small enough that a worker that is lost costs little, and all stay busy."""
    return max(1, min(rows, max(4 * workers, rows // 64)))


def _outcome(row: Mapping[str, Any]) -> Outcome:
    kind = str(row["kind"])
    message, remedy = str(row["message"]), str(row["remedy"])
    error = PartError(kind=kind, message=message, remedy=remedy) if kind else None
    return Outcome(
        name=str(row["name"]), masks=int(row["masks"]), seconds=float(row["seconds"]), error=error
    )


ENGINE = _Ray()
