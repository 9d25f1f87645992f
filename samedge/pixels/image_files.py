"""The pictures of a folder, and its videos."""

from __future__ import annotations

import re
from pathlib import Path

from samedge.errors import DatasetError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif"),
)
"""Of the files that are taken for pictures where a folder is named."""

VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv"),
)
"""Of the files that are taken for videos where a folder is named."""

PHOTOS = Path(__file__).parents[1] / "data" / "photos"
"""The photos that come with samedge."""


def image_files(folder: Path) -> tuple[Path, ...]:
    """The pictures below a folder, sorted by path; hidden folders are left out.

    Raises:
        DatasetError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder: expected one with pictures in it.")
    files = pictures_below(folder)
    if not files:
        raise DatasetError(
            f"{folder} holds no pictures: expected files ending in {', '.join(IMAGE_SUFFIXES)}."
        )
    return files


def pictures_below(folder: Path) -> tuple[Path, ...]:
    """As :func:`image_files`, but there may be none."""
    found = (p for p in folder.rglob("*") if is_picture(p) and p.is_file())
    return tuple(sorted(p for p in found if not is_hidden(p.relative_to(folder))))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of one recording in a folder, in the order in which they were taken.

    Their names count as people count: ``f2.png`` comes before ``f10.png``. Hidden files, such as
    the ``._f2.png`` that macOS leaves on other disks, are left out.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(filter(is_picture, folder.iterdir()), key=counted)


def is_picture(path: Path) -> bool:
    """Whether a file's name is that of a picture: by its ending, and no hidden one."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def is_video(path: Path) -> bool:
    """Whether a file's name is that of a video: by its ending, and no hidden one."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def counted(path: Path) -> tuple[list[tuple[int, str]], str]:
    """A key by which numbers in names sort as numbers; what is left equal goes by its letters."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part[:1].isdigit() else (-1, part) for part in parts], path.name


def is_hidden(path: Path) -> bool:
    """Whether a path, or a folder on it, is a hidden one."""
    return any(part.startswith(".") for part in path.parts)
