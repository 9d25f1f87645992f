"""DAVIS: one palette picture a frame in ``Annotations``, an index for each object."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from samedge.errors import DatasetError
from samedge.formats import reading
from samedge.formats.base import Entry, Format, Layout, Stems, Writer
from samedge.formats.label_maps import VOID, numbered, read_indexed, save_indexed
from samedge.formats.masks import ImageMasks, record_from_mask

_FOLDER = "Annotations"


class _Davis(Format):
    summary = "DAVIS: a palette picture a frame"
    layout = Layout.FOLDER
    whole = (_FOLDER,)
    keeps = frozenset({"holes", "parts", "empty_images", "folders"})

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        return _DavisWriter(path)

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        root = path / _FOLDER if (path / _FOLDER).is_dir() else path
        pictures = sorted(root.rglob("*.png"))
        if not pictures:
            raise DatasetError(f"{root} holds no .png file: name a folder of DAVIS's layout.")
        for file in pictures:
            name = reading.named_as_in(images, file.relative_to(root).as_posix())
            yield Entry(str(file), functools.partial(_image, file, name))

    def recognises(self, path: Path) -> bool:
        return (path / _FOLDER).is_dir() and next((path / _FOLDER).rglob("*.png"), None) is not None


def _image(file: Path, name: str) -> ImageMasks:
    indices = read_indexed(file)
    numbers = [n for n in np.unique(indices) if n not in (0, VOID)]
    masks = tuple(record_from_mask(indices == number) for number in numbers)
    height, width = indices.shape
    return ImageMasks(name, (height, width), masks)


class _DavisWriter(Writer):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._stems = Stems("DAVIS")

    def _add(self, image: ImageMasks) -> list[Path]:
        room = image.masks[: VOID - 1]
        self.left_out[f"masks beyond the {VOID - 1} of an image"] += len(image.masks) - len(room)
        numbers = numbered(room, image.size, writer=self)
        name = f"{self._stems.take(image)}.png"
        return [save_indexed(self._folder / _FOLDER / name, numbers)]


FORMAT = _Davis()
