"""Asks the model about every photo while people work, so that the doubtful ones come up first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

import msgspec

from samedge.annotate.desk.queue import PhotoQueue
from samedge.annotate.ranking import Measured, measure
from samedge.annotate.tasks import AutoSettings, PartError, Task
from samedge.annotate.worker import OF_ONE_IMAGE, load, part_error
from samedge.errors import ImageError, SamedgeError
from samedge.web.server.failures import StoppingError
from samedge.web.server.service import Service
from samedge.web.server.worker import CancelledWorkError, Job

logger = logging.getLogger(__name__)

_PAUSE_S = 1.0
_MOST_WAITING = 4  # of other people's work, before which this waits
_PHOTO_S = 600.0


class Asking:
    """A thread that asks about one photo after the other, behind everybody's clicks.

    Args:
        queue: takes note of the answers.
        service: whose thread has the model.
        settings: how photos are read.
    """

    def __init__(self, queue: PhotoQueue, service: Service, settings: AutoSettings) -> None:
        # The doubts are about whole photos, also where their masks are found by tiles.
        self._settings = msgspec.structs.replace(settings, tiles=None)
        self._queue, self._service = queue, service
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="samedge-ranking", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the photo in hand."""
        self._ends.set()
        self._thread.join()

    def _loop(self) -> None:
        try:
            for task in self._queue.unmeasured():
                if self._ends.is_set():
                    return
                self._queue.add(task.name, self._asked(task))
        except CancelledError:
            return  # the server stops
        except SamedgeError as error:
            logger.error("The order of the photos stays as it is: %s", error)

    def _asked(self, task: Task) -> Measured | PartError:
        loaded = load(task, self._settings)
        if loaded.pixels is None:
            return loaded.error or part_error(ImageError(f"{task.path} cannot be read."))
        pixels = loaded.pixels

        def work(job: Job[Measured]) -> Measured:
            return measure(
                self._service.predictor,
                pixels,
                name=task.name,
                progress=lambda *_: job.breathe(),  # clicks go first
            )

        try:
            return self._queued(work).future.result()
        except (StoppingError, CancelledWorkError):
            raise CancelledError from None
        except OF_ONE_IMAGE as error:
            return part_error(error)

    def _queued(self, work: Callable[[Job[Measured]], Measured]) -> Job[Measured]:
        """The work in the queue of the model's thread, as soon as there is room."""
        worker = self._service.worker
        while worker.waiting >= _MOST_WAITING:
            if self._ends.wait(_PAUSE_S):
                raise CancelledError
        return worker.submit(work, seconds=_PHOTO_S, patient=True)
