"""Parts to annotation files: the same bytes whoever made the parts, in whatever order."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from samedge import formats
from samedge.annotate.tasks import Part, PartError, Task
from samedge.errors import OptionError
from samedge.files.writing import remove
from samedge.formats.base import Layout
from samedge.formats.masks import ImageMasks


@dataclasses.dataclass(frozen=True)
class Merged:
    """What a run has made so far.

    Attributes:
        files: the annotation files.
        images: images in them.
        masks: masks in them.
        seconds: that their masks took, over all processes.
        failures: images without a result, and why.
        duplicates: groups of images of the same content, by name.
        missing: images that were not done yet.
    """

    files: tuple[Path, ...]
    images: int
    masks: int
    seconds: float
    failures: tuple[tuple[str, PartError], ...]
    duplicates: tuple[tuple[str, ...], ...]
    missing: int


def check_format(name: str, *, by_tiles: bool = False) -> None:
    """Whether a format can hold what is merged.

    Args:
        name: of the format.
        by_tiles: whether images may be too large for masks of their size to be held.

    Raises:
        OptionError: it draws on pictures, which are not at hand any more, or holds masks as large
            as they.
        UnknownNameError: there is none of that name.
    """
    if formats.get(name).draws:
        raise OptionError(
            f"{name} draws on pictures, expected a format of annotations, such as coco."
        )
    if by_tiles and not formats.get(name).holds_no_mask:
        able = " or ".join(one for one in formats.names() if formats.get(one).holds_no_mask)
        raise OptionError(
            f"{name} holds masks as large as their pictures, which images by tiles may be too "
            f"large for: write run lengths or outlines (--format {able}), and convert those."
        )


def is_named_for(destination: str, name: str, *, ending: str = "") -> bool:
    """Whether a file or folder is what a merger wrote, whole or one of several.

    Args:
        destination: the name that it was given, without an ending.
        name: of the file or folder.
        ending: of the format's files; none of a folder.
    """
    part_of = r"(-\d{5}-of-\d{5})?"
    return bool(re.fullmatch(rf"{re.escape(destination)}{part_of}{re.escape(ending)}", name))


class PartSource(Protocol):
    """Where a merger finds the results of images."""

    def part(self, name: str) -> Part | None:
        """The result of an image; ``None`` where there is none yet."""


class Merger:
    """Writes the parts of a run into annotation files, in the order of the tasks.

    Args:
        parts: where they are.
        destination: a file's path without its ending.
        file_format: a format's name.
        shard_images: most images of one file.

    Raises:
        OptionError: no file could hold an image.
    """

    def __init__(
        self, parts: PartSource, destination: Path, *, file_format: str, shard_images: int
    ) -> None:
        self._parts, self._destination, self._format = parts, destination, formats.get(file_format)
        given: object = shard_images
        if not isinstance(given, int) or given < 1:
            raise OptionError(f"shard_images is {shard_images!r}, expected a whole number above 0.")
        self._shard_images = shard_images
        self._masks, self._images, self._seconds, self._missing = 0, 0, 0.0, 0
        self._failures: list[tuple[str, PartError]] = []
        self._by_content: defaultdict[str, list[str]] = defaultdict(list)

    def merge(self, tasks: Sequence[Task]) -> Merged:
        """Write all that is done.

        Args:
            tasks: of the run, sorted by name; also those that are not done.

        Raises:
            WriteError: a file cannot be written.
        """
        shards = max(1, math.ceil(len(tasks) / self._shard_images))
        files: list[Path] = []
        for shard in range(shards):
            start = shard * self._shard_images
            files += self._shard(tasks[start : start + self._shard_images], shard, shards)
        self._remove_stale(files)
        groups = (tuple(group) for group in self._by_content.values() if len(group) > 1)
        return Merged(
            files=tuple(files),
            images=self._images,
            masks=self._masks,
            seconds=self._seconds,
            failures=tuple(self._failures),
            duplicates=tuple(groups),
            missing=self._missing,
        )

    @property
    def _is_one_file(self) -> bool:
        return self._format.layout is Layout.ONE_FILE

    def _shard(self, tasks: Sequence[Task], shard: int, shards: int) -> list[Path]:
        part_of = "" if shards == 1 else f"-{shard:05d}-of-{shards:05d}"
        ending = self._format.endings[0] if self._is_one_file else ""
        path = self._destination.with_name(f"{self._destination.name}{part_of}{ending}")
        files: dict[Path, None] = {}
        with self._format.open_writer(path, is_folder=not self._is_one_file) as writer:
            for task in tasks:
                found = self._found(task)
                if found is not None:
                    files.update(dict.fromkeys(writer.add(found)))
            files.update(dict.fromkeys(writer.close()))
        return list(files)

    def _remove_stale(self, files: Sequence[Path]) -> None:
        """Remove what an earlier run wrote in another number of files: it is no longer true."""
        kept = {*files, *(parent for file in files for parent in file.parents)}
        for path in self.there():
            if path not in kept:
                remove(path)

    def there(self) -> list[Path]:
        """The files and folders that merging would replace or remove."""
        ending = self._format.endings[0] if self._is_one_file else ""
        folder, name = self._destination.parent, self._destination.name
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        return [path for path in entries if is_named_for(name, path.name, ending=ending)]

    def _found(self, task: Task) -> ImageMasks | None:
        part = self._parts.part(task.name)
        if part is None:
            self._missing += 1
            return None
        if part.sha256:
            self._by_content[part.sha256].append(task.name)
        if part.error is not None:
            self._failures.append((task.name, part.error))
            return None
        self._images += 1
        self._masks += len(part.masks)
        self._seconds += part.seconds
        return ImageMasks(task.name, part.size, part.masks)
