"""The one door to coremltools.

It prints a dozen lines about libraries that only a Mac has, and draws progress bars; none of it is
news to a user who exports on Linux.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from samedge.errors import BackendUnavailableError
from samedge.runtimes.mil.proto import INSTALL

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep coremltools' warnings and progress bars out of the terminal; debug logs get them."""
    chatter = io.StringIO()
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(chatter),
            contextlib.redirect_stdout(chatter),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        if chatter.getvalue().strip():
            _LOG.debug("coremltools said: %s", chatter.getvalue().strip())


def coremltools(submodule: str = "") -> Any:
    """Import coremltools, or a module inside it.

    Args:
        submodule: dotted name below ``coremltools``.

    Raises:
        BackendUnavailableError: it is not installed.
    """
    name = f"coremltools.{submodule}" if submodule else "coremltools"
    with quiet():
        logging.getLogger("coremltools").setLevel(logging.ERROR)
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise BackendUnavailableError(
                f"Core ML packages are made with coremltools, which does not import: {error}. "
                f"Install it: {INSTALL}"
            ) from error
