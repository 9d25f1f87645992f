"""Masks as grey pictures, 255 inside and 0 outside: one file a mask, numbered where several."""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from samedge.errors import DatasetError
from samedge.formats import reading
from samedge.formats.base import Entry, ImageFormat, Writer
from samedge.formats.masks import ImageMasks, record_from_mask
from samedge.formats.pictures import save_picture
from samedge.pixels.image_files import counted
from samedge.pixels.mask_images import mask_from_picture

_WRITTEN = re.compile(r"_mask(_\d+)?$")
_NUMBERED = re.compile(r"(_mask)?(_\d+)?$")


class _Png(ImageFormat):
    summary = "one black and white picture a mask"
    endings = (".png",)
    tail = "_mask"
    is_one_a_mask = True
    chosen_by = (".png",)
    keeps = frozenset({"holes", "parts", "overlaps", "folders"})

    def write_image(self, path: Path, image: ImageMasks, *, writer: Writer) -> list[Path]:
        several = len(image.masks) != 1
        return [
            save_picture(
                path.with_stem(f"{path.stem}_{index}") if several else path,
                record.mask.astype(np.uint8) * 255,
            )
            for index, record in enumerate(image.masks)
        ]

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        """Masks of a file or of a folder: ``a_mask_0.png`` and ``a_mask_1.png`` are image a's."""
        files = sorted(path.rglob("*.png"), key=_order) if path.is_dir() else [path]
        root = path if path.is_dir() else path.parent
        by_image: dict[str, list[Path]] = defaultdict(list)
        for file in files:
            by_image[_image_name(file.relative_to(root), images)].append(file)
        if not by_image:
            raise DatasetError(f"{path} holds no .png file: name a folder of masks.")
        for name, masks in by_image.items():
            shown = reading.named_as_in(images, f"{name}.png")
            yield Entry(str(masks[0]), functools.partial(_image, shown, masks, left_out))

    def recognises(self, path: Path) -> bool:
        """A file, or a folder of masks that are called as the writer calls them."""
        if path.is_dir():
            return reading.first_of(path, "*.png", recognised=_is_named_as_written)
        return path.suffix.lower() == ".png" and path.is_file()


def _is_named_as_written(file: Path) -> bool:
    return _WRITTEN.search(file.stem) is not None


def _order(file: Path) -> tuple[Path, tuple[object, ...]]:
    """Masks of an image come in the order of their numbers: 2 before 10."""
    return file.parent, counted(file)


def _image_name(file: Path, images: Path | None) -> str:
    """Whose mask a file is: its name without what the writer puts behind an image's.

    A number is a part of the name where there is an image so called, such as a video's frame.
    """
    whole = file.with_suffix("").as_posix()
    if images is not None and reading.find_image(whole, [images]) is not None:
        return whole
    return (file.parent / (_NUMBERED.sub("", file.stem) or file.stem)).as_posix()


def _image(name: str, files: list[Path], left_out: Counter[str]) -> ImageMasks:
    masks = [mask_from_picture(file) for file in files]
    sizes = {mask.shape for mask in masks}
    if len(sizes) > 1:
        raise DatasetError(
            f"{files[0]} and the other masks of image {name!r} have different sizes: "
            f"{', '.join(map(str, sorted(sizes)))}. Masks of one image have its size."
        )
    drawn = [record_from_mask(mask) for mask in masks if mask.any()]
    left_out["empty masks"] += len(masks) - len(drawn)
    height, width = masks[0].shape
    return ImageMasks(name, (height, width), tuple(drawn), frame=None)


FORMAT = _Png()
