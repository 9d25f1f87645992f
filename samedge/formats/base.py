"""The contract of a format: masks of images out to files, and in again.

A format is a file ``_name.py`` here with ``FORMAT``, an instance of a subclass of ``Format``. What
others list about it (endings, what it keeps) is in it; the contract tests find it by themselves.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType

from samedge.errors import DatasetError, ImageError, WriteError
from samedge.files.interrupts import interrupts_wait
from samedge.formats.masks import ImageMasks

logger = logging.getLogger(__name__)

PROPERTIES: Mapping[str, str] = {
    "holes": "masks with holes",
    "parts": "masks of several parts",
    "overlaps": "masks that overlap others",
    "categories": "categories",
    "predicted_iou": "predicted IoU or scores",
    "stability": "stability scores",
    "prompts": "prompts",
    "crowds": "marks of crowds",
    "empty_images": "images without masks",
    "folders": "folders of image names",
    "endings": "endings of image names, which become .png",
    "frame": "which way up the masks are",
}
"""What a format may keep or lose, in words for people."""


_NUMBER = re.compile(r"_\d+(?=\.\w+$)")


class Layout(enum.Enum):
    """How the masks of many images lie on disk."""

    PER_IMAGE = "one file an image, or several"
    ONE_FILE = "one file for all images"
    FOLDER = "a folder of its own"


class Writer(ABC):
    """The files of one run, one image at a time; a context manager.

    Whatever ends the run, the images that were added are in the files afterwards.

    Attributes:
        left_out: masks that could not be written, by reason.
        changed: masks that are written as something else, by what.
    """

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()
        self.added = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self.added and not isinstance(error, WriteError):
            logger.warning(
                "Stopped early: the files hold the %d images that were finished", self.added
            )
        self.close()

    def add(self, image: ImageMasks) -> list[Path]:
        """Write one image's masks, or keep them for ``close``; an interrupt waits for that.

        Returns:
            The files that are there now.

        Raises:
            WriteError: a file cannot be written.
        """
        with interrupts_wait():
            files = self._add(image)
            self.added += 1
        return files

    @abstractmethod
    def _add(self, image: ImageMasks) -> list[Path]:
        """Write one image's masks: all of them or, with an error, none."""

    def close(self) -> list[Path]:
        """Write what was kept; nothing where no image was added. May be called again.

        Returns:
            The files that this wrote.

        Raises:
            WriteError: a file cannot be written.
        """
        return []


OF_ONE_IMAGE = (DatasetError, ImageError, OSError, MemoryError)
"""Errors of reading that end nothing but the image they are about, where there are several."""


@dataclasses.dataclass(frozen=True, eq=False)
class Unread:
    """An image whose masks could not be read or written, and why.

    Attributes:
        name: its file of masks, or its place in a file of many.
        error: one of ``OF_ONE_IMAGE``.
    """

    name: str
    error: Exception


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One image of a file or folder that is to be read.

    Attributes:
        name: as of :class:`Unread`.
        read: reads its masks; raises one of ``OF_ONE_IMAGE`` where they are damaged.
    """

    name: str
    read: Callable[[], ImageMasks]


class Format(ABC):
    """One way to write masks down.

    Attributes:
        summary: what it is, for people.
        layout: how the masks of many images lie.
        endings: of its files, the usual one first; a folder has none.
        tail: behind an image's name where files are named after images.
        whole: what it calls the files and folders for all images, where only a folder is named.
        keeps: names in ``PROPERTIES``; all else is lost in it.
        chosen_by: endings that mean this format where none is named.
        is_read: whether ``read`` works, by ``entries``.
        draws: whether it draws on the image's pixels.
        holds_no_mask: whether it is written without a mask as large as its picture, so that those
            of any picture can be.
    """

    summary: str
    layout: Layout
    endings: tuple[str, ...] = ()
    tail: str = ""
    whole: tuple[str, ...] = ()
    keeps: frozenset[str] = frozenset()
    chosen_by: tuple[str, ...] = ()
    is_read: bool = True
    draws: bool = False
    holds_no_mask: bool = False

    @property
    def name(self) -> str:
        """The file's name without its underscore."""
        return type(self).__module__.rpartition("._")[2]

    @property
    def loses(self) -> tuple[str, ...]:
        """What it does not keep, in words for people."""
        return tuple(words for key, words in PROPERTIES.items() if key not in self.keeps)

    @abstractmethod
    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        """Begin to write.

        Args:
            path: a file, or a folder to put files into.
            is_folder: which of the two.
        """

    def already_in(self, folder: Path, places: Sequence[PurePosixPath]) -> Path | None:
        """Something in a folder that writing into it would replace, or mix with; none where free.

        Args:
            folder: that need not be there.
            places: of the images, as :attr:`ImageMasks.place`.
        """
        there = (folder / name for name in self.whole)
        return next((path for path in there if os.path.lexists(path)), None)

    def read(
        self,
        path: Path,
        *,
        images: Path | None = None,
        left_out: Counter[str],
        unread: list[Unread] | None = None,
    ) -> Iterator[ImageMasks]:
        """Read masks, one image at a time.

        Args:
            path: a file or folder of this format.
            images: folder of the images, for formats that do not say how large those are.
            left_out: counts what cannot be read as a mask, by reason.
            unread: takes the images that cannot be read; ``None`` ends at the first of them.

        Raises:
            DatasetError: the file is damaged or of another format, or there is an image that
                cannot be read, and no ``unread``.
        """
        for entry in self.entries(path, images=images, left_out=left_out):
            try:
                image = entry.read()
            except OF_ONE_IMAGE as error:
                if unread is None:
                    raise
                unread.append(Unread(entry.name, error))
                continue
            yield image

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        """The images of :meth:`read`, none of them read yet.

        Raises:
            DatasetError: all of it is damaged, or of another format.
        """
        raise DatasetError(
            f"{path}: {self.name} is a picture for people, which cannot be read back: give "
            "annotations, such as COCO's."
        )

    def recognises(self, path: Path) -> bool:
        """Whether a file or folder looks like this format; never raises, reads little."""
        return False


class Stems:
    """Names of images without their endings, for formats that find files by them.

    Args:
        who: whose files they are, for people.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._taken: dict[str, str] = {}

    def take(self, image: ImageMasks) -> str:
        """The place of an image's file, without an ending.

        Raises:
            DatasetError: another image has the same.
        """
        stem = str(image.place.with_suffix(""))
        other = self._taken.setdefault(stem.casefold(), image.name)
        if other != image.name:
            raise DatasetError(
                f"{image.name} and {other} differ in their endings only, and {self._who} finds "
                "files by the name without it: rename one."
            )
        return stem


class ImageFormat(Format):
    """A format with files of its own for each image.

    Attributes:
        is_one_a_mask: whether several masks are a file each, with numbers behind their names.
    """

    layout = Layout.PER_IMAGE
    is_one_a_mask: bool = False

    @abstractmethod
    def write_image(self, path: Path, image: ImageMasks, *, writer: Writer) -> list[Path]:
        """Write one image's masks into one file, or into several beside it.

        Args:
            path: the file.
            image: what to write.
            writer: counts what is left out or changed.

        Returns:
            The files.
        """

    def already_in(self, folder: Path, places: Sequence[PurePosixPath]) -> Path | None:
        """As a format's: a file of one of the images, or of one of its masks."""
        names = _Names(self, folder)
        masks: dict[Path, dict[str, str]] = {}  # in each folder, by the name of the image's file
        for path in map(names.take, places):
            if os.path.lexists(path):
                return path
            if self.is_one_a_mask:
                if path.parent not in masks:
                    masks[path.parent] = _numbered(path.parent)
                there = masks[path.parent]
                if path.name in there:
                    return path.with_name(there[path.name])
        return None

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        """A writer of one file an image."""
        return _ImageWriter(self, path, is_folder=is_folder)


def _numbered(folder: Path) -> dict[str, str]:
    """The names in a folder that have a number at their end, by what they are without it."""
    found = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - names alone
    return {_NUMBER.sub("", name): name for name in found if _NUMBER.search(name)}


class _Names:
    """Names files in a folder after images: the same folders, a number where two would be one."""

    def __init__(self, file_format: ImageFormat, folder: Path) -> None:
        self._format, self._folder = file_format, folder
        self._taken: set[str] = set()

    def take(self, place: PurePosixPath) -> Path:
        """The file of the next image."""
        stem = place.with_suffix("")
        number = 1
        while True:
            again = "" if number == 1 else f"_{number}"
            path = self._folder / f"{stem}{self._format.tail}{again}{self._format.endings[0]}"
            if str(path).casefold() not in self._taken:
                self.keep(path)
                return path
            number += 1

    def keep(self, path: Path) -> None:
        """A file that no later image has."""
        self._taken.add(str(path).casefold())


class _ImageWriter(Writer):
    def __init__(self, file_format: ImageFormat, path: Path, *, is_folder: bool) -> None:
        super().__init__()
        self._format, self._path = file_format, path
        self._names = _Names(file_format, path) if is_folder else None

    def _add(self, image: ImageMasks) -> list[Path]:
        path = self._path if self._names is None else self._names.take(image.place)
        files = self._format.write_image(path, image, writer=self)
        if self._names is not None:
            for file in files:  # one a mask, where several
                self._names.keep(file)
        return files
