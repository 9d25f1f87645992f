"""What threads and forks do to open graphs: closing waits for who is inside, a fork opens its own.

A native session does not survive a fork: the threads that it computes with stay in the parent. So
the child forgets what was open, without releasing it, and opens it again when it is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import ClassVar, Protocol, TypeVar

from samedge.errors import InferenceError, SamedgeError

_Own = TypeVar("_Own", bound="Closable")


class Closable(ABC):
    """What owns native things until it is closed; a context manager, and none once it is closed."""

    _closed_error: ClassVar[type[SamedgeError]] = InferenceError
    _closed_words: ClassVar[str] = "The predictor is closed: open the bundle again."

    @property
    @abstractmethod
    def is_closed(self) -> bool:
        """Whether it was closed; it stays so."""

    @abstractmethod
    def close(self) -> None:
        """Release what it owns. Calling it again does nothing."""

    def check_open(self) -> None:
        """Refuse to go on when it was closed.

        Raises:
            InferenceError, SourceError: it was.
        """
        if self.is_closed:
            raise self._closed_error(self._closed_words)

    def __enter__(self: _Own) -> _Own:
        self.check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Forked(Protocol):
    """What has to know of a fork."""

    def after_fork(self) -> None:
        """Called in the child, which has one thread."""
        ...


class InUse:
    """Counts the calls that are inside of something, so that closing it can wait for them."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside, self._is_closed = 0, False

    @property
    def is_closed(self) -> bool:
        """Whether nobody may enter any more."""
        return self._is_closed

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside.

        Raises:
            InferenceError: it is closed.
        """
        with self._condition:
            if self._is_closed:
                raise InferenceError(Closable._closed_words)
            self._inside += 1
        try:
            yield
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    def close(self) -> None:
        """Let nobody enter any more, and wait until everybody has left."""
        with self._condition:
            self._is_closed = True
            self._condition.wait_for(lambda: not self._inside)


_SHARED: weakref.WeakSet[Forked] = weakref.WeakSet()


def tell_of_forks(shared: Forked) -> None:
    """Have :meth:`Forked.after_fork` called in every child that is forked from now on."""
    _SHARED.add(shared)


def never_released(thing: object) -> None:
    """Keep a native object of the parent's alive for ever: releasing it would wait for threads."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    for shared in list(_SHARED):
        shared.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
