"""Reading other programs' annotation files: bounded, typed, and one odd entry is not the end.

An entry that cannot be used is counted by its reason and left out. A file that is not what it
should be is a ``DatasetError``.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from samedge.errors import DatasetError
from samedge.files import limits, reading
from samedge.formats.masks import inside
from samedge.pixels.image_files import IMAGE_SUFFIXES
from samedge.pixels.images import load_image
from samedge.pixels.polygons import fill
from samedge.pixels.segmentations import UndrawableError, mask_from_segmentation
from samedge.types import Array, Size

E = TypeVar("E")
T = TypeVar("T")

HEAD_BYTES = 1 << 16
_LOOKED_AT = 20


def read_json(path: Path) -> Any:
    """Content of a JSON file of bounded size.

    Raises:
        DatasetError: missing, too large, or not JSON.
    """
    data = reading.read_bytes(
        path, limit="annotation_bytes", expected="an annotation file", error=DatasetError
    )
    try:
        # Not msgspec: file names may hold the lone surrogates of names that are no UTF-8.
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{path} is not JSON ({error}): save or fetch the file again."
        ) from error


def has_tail(path: Path, key: str) -> bool:
    """Whether a file names a key at its beginning or its end; what is between is not read."""
    try:
        with path.open("rb") as stream:
            start = stream.read(HEAD_BYTES)
            stream.seek(max(0, path.stat().st_size - HEAD_BYTES))
            return f'"{key}"'.encode() in start + stream.read(HEAD_BYTES)
    except OSError:
        return False


def head(path: Path) -> bytes:
    """The beginning of a regular file, for telling formats apart; empty for anything else."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as stream:
            return stream.read(HEAD_BYTES)
    except OSError:
        return b""


def has_keys(path: Path, *keys: str) -> bool:
    """Whether a ``.json`` file names these keys at its beginning; large files are not read."""
    start = head(path)
    return path.suffix.lower() in (".json", ".geojson") and all(
        f'"{key}"'.encode() in start for key in keys
    )


def converted(value: Any, kind: type[T], *, where: str) -> T:
    """A part of a document as a typed structure.

    Raises:
        DatasetError: a field is missing or of another type; names ``where``.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DatasetError(f"{where}: {error}: mend the entry, or remove it.") from error


def checked_size(height: Any, width: Any, *, where: str) -> Size:
    """A size that masks may have.

    Raises:
        DatasetError: not positive, or larger than the limit on images.
    """
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        raise DatasetError(
            f"{where} is {height!r} x {width!r} (height x width), expected two whole numbers "
            "above 0: mend the entry."
        )
    limits.check(height * width, "image_pixels", what=where, error=DatasetError)
    return height, width


def mask_from_rings(
    rings: Sequence[Sequence[float]] | Sequence[Array], size: Size
) -> npt.NDArray[np.bool_]:
    """A mask of polygons along pixels' edges, of which one in another is a hole.

    Args:
        rings: each ``[x0, y0, x1, y1, ...]`` or (N, 2).
        size: ``(height, width)``.

    Raises:
        UndrawableError: too few points, or numbers that lie nowhere near the image.
    """
    checked = [checked_ring(ring, size) for ring in rings]
    if not checked:
        raise UndrawableError("no polygon")
    return fill(checked, size)


def checked_ring(ring: Sequence[float] | Array, size: Size) -> Array:
    """(N, 2) float64 of a polygon that can be drawn.

    Raises:
        UndrawableError: it cannot.
    """
    try:
        points = np.asarray(ring, np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise UndrawableError("coordinates that are no pairs of numbers") from error
    except OverflowError as error:  # JSON has whole numbers of any length
        raise UndrawableError("coordinates far outside of the image") from error
    if len(points) < 3:
        raise UndrawableError("a polygon of fewer than three points")
    if not np.isfinite(points).all() or np.abs(points).max() > 10 * max(size) + 1000:
        raise UndrawableError("coordinates far outside of the image")
    return points


def float_or_none(value: object) -> float | None:
    """A number of a JSON document; ``None`` for what is none, or past the end of all floats."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def mask_from_runs(counts: Any, size: Size) -> npt.NDArray[np.bool_]:
    """A mask of COCO run lengths, compressed or not.

    Raises:
        UndrawableError: they do not fill the size.
    """
    return mask_from_segmentation({"size": list(size), "counts": counts}, size)


def required(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask, where it has a pixel.

    Raises:
        UndrawableError: it has none.
    """
    if not mask.any():
        raise UndrawableError("masks without a pixel")
    return mask


def image_name(
    name: str,
    images: Path | Sequence[Path] | None = None,
    *,
    file: Path | None = None,
    is_own: bool = False,
) -> str:
    """What a document calls an image, with ``/`` between folders.

    Programs on Windows write backslashes there. Elsewhere a backslash is a letter: of a name that a
    file has, or that the document's own file is named after, or that samedge wrote.

    Args:
        name: as the document has it.
        images: folders of the images.
        file: the document, where there is one an image.
        is_own: samedge wrote the document, whose folders are between ``/``.
    """
    if "\\" not in name or is_own:
        return name
    folders = [images] if isinstance(images, Path) else images or ()
    is_named = file is not None and file.name.startswith(PurePosixPath(name).stem)
    if os.sep == "/" and (is_named or any((each / inside(name)).is_file() for each in folders)):
        return name
    return name.replace("\\", "/")


def first_of(path: Path, pattern: str, *, recognised: Callable[[Path], bool]) -> bool:
    """Whether one of the first files below a folder is of a format; one may be damaged."""
    return any(recognised(file) for file in sorted(path.rglob(pattern))[:_LOOKED_AT])


def find_image(name: str, folders: Sequence[Path]) -> Path | None:
    """An image by its name, with or without an ending, in the first folder that has it."""
    place = inside(name)
    for folder in folders:
        plain = folder / place
        if plain.suffix.lower() in IMAGE_SUFFIXES and plain.is_file():
            return plain
        for ending in IMAGE_SUFFIXES:
            for candidate in (ending, ending.upper()):
                path = folder / f"{place}{candidate}"
                if path.is_file():
                    return path
    return None


def named_as_in(images: Path | None, name: str) -> str:
    """A name with the ending that the image has in a folder; as it is where that has none.

    Args:
        images: the folder, if one was given.
        name: with the ending of the masks' file.
    """
    stem = str(PurePosixPath(name).with_suffix(""))
    found = None if images is None else find_image(stem, [images])
    return name if found is None else found_name(stem, found)


def found_name(name: str, found: Path) -> str:
    """What to call an image that :func:`find_image` found by a name with or without an ending."""
    return PurePosixPath(name).with_name(found.name).as_posix()


def image_size(path: Path) -> Size:
    """Height and width of the upright picture.

    Raises:
        ImageError: not a usable image.
    """
    height, width = load_image(path).shape[:2]
    return height, width


def usable(read: Callable[[E], T], entry: E, *, left_out: Counter[str]) -> T | None:
    """What ``read`` makes of an entry; ``None``, and counted, where the entry is odd."""
    try:
        return read(entry)
    except UndrawableError as error:
        left_out[error.reason] += 1
    except (msgspec.ValidationError, DatasetError):
        left_out["entries with a missing or mistyped field"] += 1
    return None
