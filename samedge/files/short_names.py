"""Names for files that are shown together: short, and no two the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each path, no two the same: its own, with as many folders as tell it apart.

    Files of several machines are often called alike, such as ``laptop/bench.json`` and
    ``jetson/bench.json``.

    Args:
        paths: of files or folders; one that comes twice is taken once.
    """
    whole = {os.path.abspath(path): path for path in paths}  # noqa: PTH100 - links stay apart
    parts = {path: PurePath(key).parts for key, path in whole.items()}
    return {path: _shortest(own, list(parts.values())) for path, own in parts.items()}


def _shortest(own: tuple[str, ...], every: Sequence[tuple[str, ...]]) -> str:
    """The fewest last parts of a path that no other of some paths ends in."""
    for length in range(1, len(own)):
        if Counter(parts[-length:] for parts in every)[own[-length:]] == 1:
            return PurePath(*own[-length:]).as_posix()
    return PurePath(*own).as_posix()
