"""The process that runs the graphs; :mod:`samedge.runtimes.isolated.process` starts it.

Orders come on standard input, answers go to what was standard output. Everything else that Python
or a native library prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from pathlib import Path
from typing import IO

import msgspec

from samedge import runtimes
from samedge.errors import InferenceError, SamedgeError
from samedge.runtimes.base import Array, Session
from samedge.runtimes.isolated.messages import (
    Answer,
    Build,
    Close,
    Failed,
    Found,
    Look,
    Opened,
    Opening,
    Order,
    Ran,
    Run,
    Words,
    heads,
    received,
    received_arrays,
    send,
)

Answered = tuple[Answer, dict[str, Array]]


class Worker:
    """Holds the sessions of one backend and obeys the orders about them.

    Args:
        backend: its name.
    """

    def __init__(self, backend: str) -> None:
        self._backend = runtimes.get(backend)
        self._sessions: dict[int, Session] = {}
        self._numbers = itertools.count(1)

    def answer(self, order: Order, arrays: dict[str, Array]) -> Answered:
        """Do what one order asks; an error of samedge is an answer too."""
        try:
            if isinstance(order, Run):
                results = self._sessions[order.session].run(arrays)
                return Ran(heads(results)), results
            return self._about(order), {}
        except SamedgeError as error:
            return Failed(type(error).__name__, str(error)), {}
        except Exception as error:  # noqa: BLE001 - a native library fails in its own ways
            said = f"{type(error).__name__}: {error}"
            return Failed(InferenceError.__name__, said), {}

    def _about(self, order: Look | Build | Opening | Close) -> Answer:
        if isinstance(order, Look):
            return Found(self._backend.probe())
        if isinstance(order, Build):
            return Words(list(self._backend.build(order.device)))
        if isinstance(order, Opening):
            return self._opening(order)
        self._sessions.pop(order.session).close()
        return Words()

    def _opening(self, order: Opening) -> Answer:
        model, where = Path(order.model), {"device": order.device, "options": order.options}
        if order.what == "reads":
            return Words([str(file) for file in self._backend.reads(model)])
        if order.what == "files":
            files = self._backend.compiled_files(model, **where)  # type: ignore[arg-type]
            return Words([str(file) for file in files])
        if order.what == "prepare":
            self._backend.prepare(model, shapes=order.shapes, **where)  # type: ignore[arg-type]
            return Words()
        session = self._backend.open(model, shapes=order.shapes, **where)  # type: ignore[arg-type]
        number = next(self._numbers)
        self._sessions[number] = session
        residency: dict[str, float] = {}
        with contextlib.suppress(InferenceError):  # it is for the reader of a report
            residency = session.residency()
        return Opened(
            session=number,
            inputs=list(session.inputs),
            outputs=list(session.outputs),
            device=session.device,
            residency=residency,
        )


def serve(worker: Worker, *, orders: IO[bytes], answers: IO[bytes]) -> None:
    """Obey until there are no more orders."""
    while (head := received(orders)) is not None:
        order = msgspec.msgpack.decode(head, type=Order)
        arrays = received_arrays(orders, order.tensors if isinstance(order, Run) else [])
        if arrays is None:
            return
        answer, results = worker.answer(order, arrays)
        send(answers, answer, arrays=results)


def _end_with(parent: int) -> None:
    """End when the process that started this one has ended, even inside of a native library."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def main() -> None:
    """Keep standard output for answers alone, then obey."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with answers:
        serve(Worker(sys.argv[1]), orders=sys.stdin.buffer, answers=answers)


if __name__ == "__main__":
    main()
