"""A process of the local engine that dies or hangs on images of certain names."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from samedge.annotate import child, worker
from samedge.annotate.tasks import Outcome
from samedge.annotate.worker import Loaded


def _annotate(
    self: worker.AutoWorker, loaded: Loaded, *, on_tile: Callable[[], None] | None = None
) -> Outcome:
    if "kill" in loaded.task.name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "hang" in loaded.task.name:
        time.sleep(3600)
    left = int(os.environ.get("SAMEDGE_TEST_DIES_AFTER_TILES", "-1"))

    def told() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if on_tile is not None:
            on_tile()

    return _real(self, loaded, on_tile=told)


_real = worker.AutoWorker.annotate

if __name__ == "__main__":
    worker.AutoWorker.annotate = _annotate  # type: ignore[method-assign]
    child.main()
