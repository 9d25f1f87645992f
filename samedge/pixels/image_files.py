"""The pictures of a folder."""

from __future__ import annotations

from pathlib import Path

from samedge.errors import DatasetError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def image_files(folder: Path) -> tuple[Path, ...]:
    """The pictures below a folder, sorted by path; hidden folders are left out.

    Raises:
        DatasetError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder: expected one with pictures in it.")
    found = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    files = tuple(sorted(p for p in found if not _is_hidden(p.relative_to(folder))))
    if not files:
        raise DatasetError(
            f"{folder} holds no pictures: expected files ending in {', '.join(IMAGE_SUFFIXES)}."
        )
    return files


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
