"""TensorRT's log: to Python's logging, with the last errors kept for messages."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

logger = logging.getLogger(__name__)
_KEPT = 4


class Listener:
    """What TensorRT said.

    Attributes:
        native: the object to hand to the library, which must live as long as the library's own.
        errors: the last messages about errors.
    """

    def __init__(self, trt: Any) -> None:
        self.errors: deque[str] = deque(maxlen=_KEPT)
        self.native = _native(trt, self.errors)

    def last_words(self) -> str:
        """The last errors, which are then forgotten."""
        said = "; ".join(self.errors) or "it gave no reason"
        self.errors.clear()
        return said


def _native(trt: Any, errors: deque[str]) -> Any:
    """A logger in the library's own sense; its class is known only once the library is here."""
    levels = {
        trt.ILogger.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.ERROR: logging.ERROR,
        trt.ILogger.WARNING: logging.INFO,  # routine advice; nothing that a user can act on
        trt.ILogger.INFO: logging.DEBUG,
        trt.ILogger.VERBOSE: logging.DEBUG,
    }

    class NativeListener(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            level = levels[severity]
            if level == logging.ERROR:
                errors.append(message.strip())
            logger.log(logging.DEBUG if level == logging.ERROR else level, "%s", message.strip())

    return NativeListener()
