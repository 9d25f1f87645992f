"""An interrupt waits for what must not be left half done."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from samedge.files.interrupts import interrupts_wait


@pytest.fixture(autouse=True)
def _listening() -> None:
    """A suite in the background ignores interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_the_body_is_done_first() -> None:
    done: list[str] = []

    def work() -> None:
        with interrupts_wait():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("first half")
            done.append("second half")
        done.append("after it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first half", "second half"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_within_is_not_lost() -> None:
    with pytest.raises(KeyError), interrupts_wait():
        raise KeyError("broken")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_run_as_they_are() -> None:
    ran: list[bool] = []

    def work() -> None:
        with interrupts_wait():
            ran.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(600)
    assert ran == [True]
