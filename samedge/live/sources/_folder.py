"""Folders of pictures, in the order of their names, whose numbers count as numbers."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

from PIL import Image

from samedge.errors import ImageError, SourceError
from samedge.live.sources.base import Grab, ReadOptions, Source
from samedge.pixels.folder_listing import pictures_listed
from samedge.pixels.image_files import IMAGE_SUFFIXES, is_video, pictures_in
from samedge.pixels.images import load_image
from samedge.pixels.numbering import frame_gaps

DEFAULT_FPS = 30.0


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, in their order.

    Raises:
        SourceError: there is none.
    """
    try:
        found = pictures_in(folder)
    except OSError as error:
        raise SourceError(f"{folder} cannot be read ({error.strerror}): check the path.") from error
    if not found:
        videos = [path for path in folder.iterdir() if is_video(path)]
        hint = f": name one of its {len(videos)} videos, such as {min(videos)}" if videos else ""
        endings = ", ".join(IMAGE_SUFFIXES)
        raise SourceError(f"{folder} holds no picture ({endings}) to take for a frame{hint}.")
    return found


class Folder(Source):
    """A folder of pictures, played at 30 frames a second or as ``fps`` says."""

    form = "a folder of pictures"
    is_live = False

    def claims(self, spec: str) -> bool:
        """A folder that is there."""
        return os.path.isdir(spec)  # noqa: PTH112 - any text is answered

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        """Every picture; one that does not decode is a damaged frame."""
        step_s = 1 / (options.fps or DEFAULT_FPS)
        for index, path in enumerate(pictures(Path(spec))):
            yield _grab(path, index * step_s)

    def remarks(self, spec: str) -> tuple[str, ...]:
        """What lies beside the pictures, and gaps in their numbers."""
        found = pictures(Path(spec))
        missing = frame_gaps(found)
        listing = pictures_listed(Path(spec), below=False)
        said = [f"{line}; its pictures are the frames" for line in listing.lines()]
        if missing is not None:
            said.append(f"{spec}: {missing}")
        return tuple(said)

    def write_example(self, folder: Path) -> str | None:
        """Three pictures, the second of which is damaged."""
        for number, level in enumerate((40, 120, 200)):
            path = folder / f"{number}.png"
            Image.new("RGB", (32, 16), (level, level, level)).save(path)
        (folder / "1.png").write_bytes(b"no picture")
        return str(folder)


def _grab(path: Path, pts_s: float) -> Grab:
    try:
        return Grab(load_image(path), pts_s)
    except ImageError as error:
        return Grab(None, pts_s, str(error))


SOURCE = Folder()
