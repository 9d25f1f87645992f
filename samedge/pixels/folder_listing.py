"""What a folder holds: the pictures that are read, and all that is left out, counted by reason."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from samedge.errors import DatasetError
from samedge.pixels.image_files import IMAGE_SUFFIXES, PHOTOS, is_hidden, is_picture, is_video

NAMED = 20
"""So many files of a reason are named, of however many there are."""

_SHOWN = 3
_OTHER_KINDS = (
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2", ".pef", ".srw", ".psd"),
    *(".jxl", ".svg", ".exr", ".hdr", ".dcm", ".pdf", ".eps", ".ico", ".dds", ".pcx", ".sgi"),
    *(".xcf", ".icns", ".npy", ".fits", ".jpg_large", ".jpg_orig"),
)

_VIDEOS = "videos and animations (`samedge annotate --every 30` takes their frames)"
_OTHER_PICTURES = "pictures of another kind (save them as JPEG, PNG, WebP or TIFF)"
_OTHERS = "no pictures by the endings of their names"
_HIDDEN = "hidden, as their names begin with a dot (give them other names)"
_NO_FILES = "links to nothing, pipes or devices (put the files in their place)"
_LINKED = "links to folders, which are not followed (name those folders themselves)"
_INNER = "folders in it, which are not searched (name them, too)"
_LOCKED = "folders that cannot be read (ask for the right to them)"

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SkippedFiles:
    """What of a folder is left out for one reason.

    Attributes:
        why: the reason, and what to do about it where there is something.
        count: how many there are.
        names: the first :data:`NAMED` of them, as paths below the folder.
    """

    why: str
    count: int
    names: tuple[str, ...]

    @classmethod
    def of(cls, why: str, names: Sequence[str]) -> SkippedFiles:
        """All files that are left out for a reason, by their names."""
        return cls(why, len(names), tuple(sorted(names)[:NAMED]))

    def __str__(self) -> str:
        more = ", ..." if self.count > _SHOWN else ""
        return f"{self.count} ({', '.join(self.names[:_SHOWN])}{more}): {self.why}"


@dataclasses.dataclass(frozen=True)
class Listing:
    """A folder's contents.

    Attributes:
        folder: that was listed.
        pictures: sorted by path.
        skipped: the rest, by reason.
    """

    folder: Path
    pictures: tuple[Path, ...]
    skipped: tuple[SkippedFiles, ...]

    def tell(self) -> Listing:
        """Log what is left out; the same is not said a second time in this process."""
        for line in self.lines():
            _tell(line)
        return self

    def lines(self) -> tuple[str, ...]:
        """A sentence a reason."""
        return tuple(f"{self.folder}: left out {entry}" for entry in self.skipped)

    def instead(self) -> str:
        """What is there where pictures are missing, for the end of an error; may be empty."""
        return f" It holds {'; '.join(map(str, self.skipped))}." if self.skipped else ""


@functools.lru_cache(maxsize=256)
def _tell(line: str) -> None:
    logger.warning("%s", line)


def pictures_listed(
    folder: Path, *, below: bool = True, passed_over: Callable[[Path], bool] | None = None
) -> Listing:
    """List a folder; what cannot be read in it is a reason, and no error.

    Hidden files that are no pictures by their names, and hidden folders without any, such as
    ``.git``, are nobody's loss, and not counted.

    Args:
        folder: to list.
        below: whether the folders in it are searched, too.
        passed_over: tells what is not looked at, and not counted, such as the results of a command.
    """
    sorter = _Sorter(folder)
    for path, kind in _walk(folder, below=below, passed_over=passed_over or _none):
        sorter.add(path, kind)
    return sorter.listing()


def image_files(folder: Path) -> tuple[Path, ...]:
    """The pictures below a folder, sorted by path; what is left out there is told of.

    Raises:
        DatasetError: the folder is missing or holds none.
    """
    return listed_images(folder).tell().pictures


def listed_images(folder: Path, *, passed_over: Callable[[Path], bool] | None = None) -> Listing:
    """As :func:`pictures_listed`, where there must be pictures.

    Raises:
        DatasetError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder: expected one with pictures in it.")
    listing = pictures_listed(folder, passed_over=passed_over)
    if not listing.pictures:
        raise DatasetError(
            f"{folder} holds no pictures: expected files ending in {', '.join(IMAGE_SUFFIXES)}."
            f"{listing.instead()}"
        )
    return listing


def _none(_: Path) -> bool:
    return False


class _Sorter:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pictures: list[Path] = []
        self._left: dict[str, list[str]] = {}

    def add(self, path: Path, kind: str) -> None:
        why = kind or _why(path, self._folder)
        if why is None:
            self._pictures.append(path)
        elif why:
            name = path.relative_to(self._folder).as_posix()
            self._left.setdefault(why, []).append(path.name if name == "." else name)

    def listing(self) -> Listing:
        left = {} if self._folder == PHOTOS else self._left  # beside ours lies what says whose
        skipped = tuple(SkippedFiles.of(why, names) for why, names in left.items())
        return Listing(self._folder, tuple(sorted(self._pictures)), skipped)


def _why(path: Path, folder: Path) -> str | None:
    """Why a file is left out: ``None`` where it is a picture, empty where nobody misses it."""
    plain = path.with_name(path.name.lstrip(".") or "_")
    if is_hidden(path.relative_to(folder)):
        return _HIDDEN if is_picture(plain) or is_video(plain) else ""
    if is_picture(path):
        return None
    if is_video(path):
        return _VIDEOS
    return _OTHER_PICTURES if path.suffix.lower() in _OTHER_KINDS else _OTHERS


def _walk(
    folder: Path, *, below: bool, passed_over: Callable[[Path], bool]
) -> Iterator[tuple[Path, str]]:
    """Everything in a folder, and why it is no file of interest: empty where it is a file."""
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError:
            yield current, _LOCKED
            continue
        for entry in entries:
            path = Path(entry.path)
            if passed_over(path):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not below:
                    yield path, _INNER
                elif not entry.name.startswith("."):
                    waiting.append(path)
                elif _holds_pictures(path):
                    yield path, _HIDDEN
            else:
                yield path, _of_entry(entry)


def _holds_pictures(folder: Path) -> bool:
    try:
        return any(is_picture(path) or is_video(path) for path in folder.iterdir())
    except OSError:
        return True  # nobody knows


def _of_entry(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_file():
            return ""
        return _LINKED if entry.is_dir() else _NO_FILES
    except OSError:  # a loop of links
        return _NO_FILES
