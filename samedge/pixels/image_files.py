"""The pictures of a folder, and its videos."""

from __future__ import annotations

import re
from pathlib import Path

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".jpe", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
)
"""Of the files that are taken for pictures where a folder is named."""

VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".3g2", ".ogv", ".asf", ".vob", ".mxf", ".m2v", ".y4m"),
    *(".h264", ".264", ".h265", ".hevc", ".mjpg", ".mjpeg", ".gif", ".apng"),
)
"""Of the files that are taken for videos where a folder is named."""

PHOTOS = Path(__file__).parents[1] / "data" / "photos"
"""The photos that come with samedge."""


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
