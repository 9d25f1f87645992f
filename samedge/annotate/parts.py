"""The results of single images on disk: what a run that was interrupted need not do again."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from samedge.annotate.tasks import (
    Part,
    PartHead,
    Task,
    TilePart,
    decoded,
    file_state,
    part_name,
)
from samedge.files.json_text import json_text
from samedge.files.writing import remove, write_text
from samedge.pixels.boxes import Box

P = TypeVar("P", bound=PartHead)


class Parts:
    """A folder of parts, one file an image, each written in one step.

    Args:
        folder: need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, part: Part) -> None:
        """Keep a result, in the place of an older one of the same image.

        Raises:
            WriteError: it cannot be written.
        """
        write_text(self.folder / part_name(part.name), json_text(part))
        tiles = self._tiles(part.name)
        if part.error is None and tiles.exists():  # a failure is tried again, from where it was
            remove(tiles)

    def write_tile(self, part: TilePart) -> None:
        """Keep the masks of a tile, until all of the image is written.

        Raises:
            WriteError: they cannot be written.
        """
        write_text(self._tile(part.name, part.box), json_text(part))

    def tile(self, name: str, box: Box) -> TilePart | None:
        """The masks of an image's tile; ``None`` where there are none, or the file is damaged."""
        try:
            found = decoded(self._tile(name, box).read_bytes(), TilePart)
        except (OSError, ValueError):
            return None
        return found if (found.name, found.box) == (name, box) else None

    def head(self, name: str) -> PartHead | None:
        """What is known of an image; ``None`` where nothing is, or the file is damaged."""
        return self._read(name, PartHead)

    def part(self, name: str) -> Part | None:
        """The result of an image; ``None`` where there is none, or the file is damaged."""
        return self._read(name, Part)

    def is_done(self, task: Task) -> bool:
        """Whether an image has its masks, and its file is still the same; a failure is not done."""
        head = self.head(task.name)
        if head is None or head.error is not None:
            return False
        return (head.file_bytes, head.modified_ns) == file_state(Path(task.path))

    def _tiles(self, name: str) -> Path:
        return (self.folder / part_name(name)).with_suffix(".tiles")

    def _tile(self, name: str, box: Box) -> Path:
        return self._tiles(name) / f"{box[0]}-{box[1]}.json"

    def _read(self, name: str, kind: type[P]) -> P | None:
        try:
            found = decoded((self.folder / part_name(name)).read_bytes(), kind)
        except (OSError, ValueError):
            return None
        return found if found.name == name else None
