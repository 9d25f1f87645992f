"""How long a call may take: ``with time_limit(0.5): predictor.decode(...)``."""

from __future__ import annotations

import contextlib
import contextvars
import math
import numbers
import time
from collections.abc import Iterator

from samedge.errors import InferenceError, OptionError

TIMEOUT_S, OPEN_TIMEOUT_S = 60.0, 600.0
"""Of one run and of one opening of a graph in a process of its own, where nobody says others."""

_END: contextvars.ContextVar[float] = contextvars.ContextVar("samedge_deadline", default=math.inf)


def is_time(seconds: object, *, above: float) -> bool:
    """Whether something is a number of seconds, larger than another."""
    return isinstance(seconds, numbers.Real) and float(seconds) > above


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Let the calls inside take so long in all, in this thread or task.

    No graph is started after the time is up, and no wait for a pool goes on. A graph that already
    runs is only stopped where a process of its own runs it (``Predictor.isolated``): nothing can
    stop a native library inside this one. There, opening the graphs again after a crash counts as
    well: a limit that is shorter than that fails until a call with more time has opened them.

    Args:
        seconds: above 0; inside another limit, the shorter of the two.

    Raises:
        OptionError: not a positive number.
    """
    if not is_time(seconds, above=0):
        raise OptionError(f"The time limit is {seconds!r} s, expected a number above 0.")
    token = _END.set(min(_END.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _END.reset(token)


def remaining_s() -> float:
    """Seconds that are left to the call; infinity where there is no limit, never below 0."""
    return max(_END.get() - time.monotonic(), 0.0)


def check_time(what: str) -> None:
    """Refuse to begin something when the time is up.

    Args:
        what: for the message, such as ``"the decoder"``.

    Raises:
        InferenceError: it is.
    """
    if not remaining_s():
        raise InferenceError(
            f"The time limit of the call is up before {what}: give it more time, or ask for less "
            "at once."
        )
