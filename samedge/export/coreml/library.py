"""The one door to coremltools.

It prints a dozen lines about libraries that only a Mac has, and draws progress bars; none of it is
news to a user who exports on Linux. And it keeps each model in the system's folder of temporary
files until Python ends.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samedge.errors import BackendUnavailableError
from samedge.files.scratch import scratch_folder
from samedge.runtimes.mil.proto import INSTALL

_LOG = logging.getLogger(__name__)
_ONE_AT_A_TIME = threading.RLock()  # names in coremltools' modules are there once


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


@contextlib.contextmanager
def temporary_files() -> Iterator[None]:
    """Have coremltools put its temporary files into a folder of ours, gone at the end.

    By itself it removes its packages when Python ends: one that is killed leaves them for ever, and
    one that exports for long collects them. No other part of the process is touched. Models of
    coremltools have no weights any more afterwards: save them within.

    Raises:
        BackendUnavailableError: coremltools is not installed.
        OSError: there is no place for temporary files.
    """
    coremltools()
    with _ONE_AT_A_TIME, scratch_folder() as folder, contextlib.ExitStack() as undone:
        ours = _tempfile_in(folder)
        for module in _modules():
            for name in ("tempfile", "_tempfile"):
                kept = vars(module).get(name)
                if kept is tempfile:
                    setattr(module, name, ours)
                    undone.callback(setattr, module, name, kept)
        yield


def _modules() -> list[types.ModuleType]:
    return [m for name, m in list(sys.modules.items()) if name.startswith("coremltools.")]


def _tempfile_in(folder: Path) -> types.SimpleNamespace:
    """The module ``tempfile`` with another place to make things in."""
    makers = ("mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile")
    ours = {name: functools.partial(getattr(tempfile, name), dir=str(folder)) for name in makers}
    return types.SimpleNamespace(**{**vars(tempfile), **ours})
