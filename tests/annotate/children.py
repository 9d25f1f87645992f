"""A process of the local engine that dies or hangs on images of certain names."""

from __future__ import annotations

import os
import signal
import time

from samedge.annotate import child, worker
from samedge.annotate.tasks import Outcome
from samedge.annotate.worker import Loaded


def _annotate(self: worker.AutoWorker, loaded: Loaded) -> Outcome:
    if "kill" in loaded.task.name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "hang" in loaded.task.name:
        time.sleep(3600)
    return _real(self, loaded)


_real = worker.AutoWorker.annotate

if __name__ == "__main__":
    worker.AutoWorker.annotate = _annotate  # type: ignore[method-assign]
    child.main()
