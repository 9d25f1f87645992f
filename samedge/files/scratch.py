"""Folders for what is needed for a moment; what a killed process left of them goes at the next."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from samedge.files import writing


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder among the system's temporary files, gone at the end.

    Yields:
        A folder that nobody else may enter.

    Raises:
        OSError: there is no place for temporary files.
    """
    parent = Path(tempfile.gettempdir())
    writing.remove_stale(parent)
    with writing.locked_folder(parent) as folder:
        yield folder
