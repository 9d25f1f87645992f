"""Folders of pictures, in the order of their names."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from samedge.errors import ImageError, SourceError
from samedge.live.sources.base import Grab, ReadOptions, Source
from samedge.pixels.image_files import IMAGE_SUFFIXES
from samedge.pixels.images import load_image
from samedge.types import Array

DEFAULT_FPS = 30.0


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted by name.

    Raises:
        SourceError: there is none.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise SourceError(f"{folder} holds no picture ({', '.join(IMAGE_SUFFIXES)}).")
    return found


class Folder(Source):
    """A folder of pictures, played at 30 frames a second or as ``fps`` says."""

    form = "a folder of pictures"
    is_live = False

    def claims(self, spec: str) -> bool:
        """A folder that is there."""
        return Path(spec).is_dir()

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        """Every picture; one that does not decode is a damaged frame."""
        step_s = 1 / (options.fps or DEFAULT_FPS)
        for index, path in enumerate(pictures(Path(spec))):
            yield Grab(_picture(path), index * step_s)


def _picture(path: Path) -> Array | None:
    try:
        return load_image(path)
    except ImageError:
        return None


SOURCE = Folder()
