"""Interrupts: which signals are one, and one that waits, so that files never hold a half."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

_ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_ECHO_S = 1.0  # `timeout` tells the process, and then its group
_SIGNALS = (signal.SIGINT, *_ENDINGS)


def endings_interrupt() -> None:
    """Have what ends programs end this one as Ctrl-C does, so that its files are finished.

    ``timeout`` and containers send SIGTERM, a terminal or a connection that is closed SIGHUP.
    Who ignores one of them, as ``nohup`` does, still does.
    """
    own, heard_s = os.getpid(), -math.inf

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal heard_s
        del frame
        if os.getpid() != own:  # a fork: whoever ends it means that
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        is_echo, heard_s = time.monotonic() - heard_s < _ECHO_S, time.monotonic()
        if not is_echo:
            raise KeyboardInterrupt

    for number in _ENDINGS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C, and what is taken for it, count when the body is done.

    Signals reach the main thread alone; in others, and where nobody listens to them, the body
    runs as it is.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = {number: handler for number, handler in before.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread() or not heard:
        yield
        return
    asked: list[tuple[int, FrameType | None]] = []

    def remember(number: int, frame: FrameType | None) -> None:
        asked.append((number, frame))

    for number in heard:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
        if asked:
            heard[signal.Signals(asked[0][0])](*asked[0])
