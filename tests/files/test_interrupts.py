"""An interrupt waits for what must not be left half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from samedge.files.interrupts import endings_interrupt, interrupts_wait


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


@pytest.fixture(params=["SIGTERM", "SIGHUP"])
def ending(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    number = getattr(signal, request.param, None)
    if number is None or sys.platform == "win32":
        pytest.skip("this system has no such signal")
    before = signal.signal(number, signal.SIG_DFL)
    yield number
    signal.signal(number, before)


def test_what_ends_programs_is_an_interrupt_that_waits(ending: signal.Signals) -> None:
    endings_interrupt()
    done: list[str] = []

    def work() -> None:
        with interrupts_wait():
            os.kill(os.getpid(), ending)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done


def test_who_ignores_it_still_does(ending: signal.Signals) -> None:
    signal.signal(ending, signal.SIG_IGN)
    endings_interrupt()
    os.kill(os.getpid(), ending)
    assert signal.getsignal(ending) is signal.SIG_IGN


_FORK = """
import os, signal
from samedge.files.interrupts import endings_interrupt
endings_interrupt()
child = os.fork()
if not child:
    try:
        os.kill(os.getpid(), signal.{name})
    finally:
        os._exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.{name}
"""


def test_a_fork_dies_of_it(ending: signal.Signals) -> None:
    """Pools end their processes by SIGTERM."""
    subprocess.run([sys.executable, "-c", _FORK.format(name=ending.name)], check=True)


def test_its_echo_is_no_second_interrupt(ending: signal.Signals) -> None:
    """``timeout`` tells the process and then its group, itself included."""
    endings_interrupt()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), ending)
    os.kill(os.getpid(), ending)


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
