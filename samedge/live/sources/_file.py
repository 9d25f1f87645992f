"""Video files, through PyAV."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from samedge.live.sources import pyav
from samedge.live.sources.base import Grab, ReadOptions, Source


class File(Source):
    """A video file."""

    form = "a video file"
    is_live = False

    def claims(self, spec: str) -> bool:
        """A file that is there."""
        return Path(spec).is_file()

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        """All frames of the file."""
        return pyav.grabs(spec, options, low_delay=False)


SOURCE = File()
