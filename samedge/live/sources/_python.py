"""A function of the user's own that gives frames, run in the capture process."""

from __future__ import annotations

import importlib
import re
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np

from samedge.errors import SourceError
from samedge.live.sources.base import Grab, ReadOptions, Source, grab_from_item
from samedge.types import Array

PREFIX = "python:"


class Python(Source):
    """``python:module:function``: the function returns an iterable of frames.

    A frame is an (H, W, 3) uint8 RGB array, or a pair of it and its timestamp in seconds.
    """

    form = "python:module:function, which returns frames"
    is_live = True

    def claims(self, spec: str) -> bool:
        """The prefix ``python:``."""
        return spec.startswith(PREFIX)

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        """What the function gives."""
        del options
        module, _, name = spec.removeprefix(PREFIX).rpartition(":")
        if not re.fullmatch(r"[\w.]+", module) or not name.isidentifier():
            raise SourceError(f"{spec!r} is not {PREFIX}module:function.")
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise SourceError(f"{spec} cannot be imported: {error}.") from error
        for item in function():
            yield grab_from_item(item)

    def write_example(self, folder: Path) -> str | None:
        """A function of this module, as a user's own would be."""
        del folder
        return f"{PREFIX}{__name__}:{example.__name__}"


def example() -> Iterator[tuple[Array, float]]:
    """Three grey frames."""
    for number in range(3):
        yield np.full((16, 32, 3), 40 + 80 * number, np.uint8), number / 30


SOURCE = Python()
