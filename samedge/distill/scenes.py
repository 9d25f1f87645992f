"""One picture with its masks, read lazily: what every source of training data gives.

A ``Scene`` knows its size and the boxes of its masks at once; pixels are decoded when asked for, so
that only the masks that a sample uses are ever decoded, and a large photo only as finely as needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from samedge.errors import DatasetError, ImageError
from samedge.pixels.folder_listing import image_files
from samedge.pixels.images import load_image
from samedge.pixels.picture_files import opened_picture, orientation
from samedge.types import Array, Size

_EXIF_ORIENTATION = 0x0112
ALIGNMENT = 8
"""Windows are cut at multiples of this, the coarsest reduction of a JPEG decoder."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A picture and the masks in it.

    Attributes:
        size: height and width in px; boxes and masks are in this frame.
        boxes: (n, 4) float32 ``x, y, width, height`` px of every mask.
        read_image: given the scale that the picture is about to be resized by, returns it as
            (h, w, 3) uint8 RGB, perhaps already reduced by 2, 4 or 8 (never below that scale).
        read_mask: given an index into ``boxes``, returns that mask as (H, W) uint8, 0 and 1.
    """

    size: Size
    boxes: Array
    read_image: Callable[[float], Array]
    read_mask: Callable[[int], Array]


class Source(Protocol):
    """A numbered collection of scenes."""

    def __len__(self) -> int: ...

    def scene(self, index: int, rng: np.random.Generator, /) -> Scene:
        """Scene ``index``; a source that invents pictures draws from ``rng`` and nothing else."""
        ...


def read_rgb(path: Path, *, scale: float = 1.0, upright: bool = False) -> Array:
    """Decode a picture.

    Args:
        path: the file.
        scale: what it will be resized by afterwards; a JPEG is then decoded at 1/2, 1/4 or 1/8
            where that is still fine enough.
        upright: whether to obey the EXIF orientation (annotations are in the stored frame).

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        DatasetError: the file is missing or is no picture.
    """
    try:
        with opened_picture(path) as (picture, _):
            if scale < 1:
                width, height = picture.size
                picture.draft("RGB", (int(np.ceil(width * scale)), int(np.ceil(height * scale))))
            if not upright:
                picture.getexif().pop(_EXIF_ORIENTATION, None)
            return load_image(picture)
    except ImageError as error:
        raise DatasetError(f"{path} is not a readable picture ({error}): replace it.") from error


def header_size(path: Path, *, upright: bool = False) -> Size:
    """``(height, width)`` from a picture's header, without decoding it.

    Raises:
        DatasetError: the file is missing or is no picture.
    """
    try:
        with opened_picture(path) as (picture, _):
            width, height = picture.size
            turned = upright and orientation(picture) >= 5
    except ImageError as error:
        raise DatasetError(f"{path} is not a readable picture ({error}): replace it.") from error
    return (width, height) if turned else (height, width)


class ImageFolder:
    """Pictures without masks: for feature distillation, a teacher's own masks, and MAE.

    Args:
        root: a folder; pictures are looked for below it.

    Raises:
        DatasetError: no folder, or no pictures in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.files = image_files(self.root)

    def __len__(self) -> int:
        return len(self.files)

    def scene(self, index: int, _rng: np.random.Generator, /) -> Scene:
        """Picture ``index`` without masks."""
        path = self.files[index]

        def read_mask(number: int) -> Array:
            raise IndexError(f"{path} has no mask {number}")

        return Scene(
            size=header_size(path, upright=True),
            boxes=np.zeros((0, 4), np.float32),
            read_image=lambda scale: read_rgb(path, scale=scale, upright=True),
            read_mask=read_mask,
        )
