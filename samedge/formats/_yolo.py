"""YOLO segmentation: a folder with ``data.yaml`` and one text file an image.

A row is one object: its class and its outline in shares of the image. Holes are led into and out of
along a line inside of the mask. Parts are joined by lines where that keeps 0.99 of the mask, and
become objects of their own where it does not. Coordinates stand a tenth of a pixel inside of the
outermost pixels, so that programs that round and programs that cut find the same ones.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt

from samedge.errors import DatasetError
from samedge.files import reading as files
from samedge.files.json_text import json_text
from samedge.files.writing import write_text
from samedge.formats import reading
from samedge.formats.base import Entry, Format, Layout, Stems, Writer
from samedge.formats.masks import DEFAULT_CATEGORY, ImageMasks, MaskRecord, record_from_mask
from samedge.formats.yolo_names import class_names
from samedge.pixels.metrics import mask_iou
from samedge.pixels.outlines import joined, outlines
from samedge.pixels.polygons import fill_with_border
from samedge.pixels.segmentations import UndrawableError
from samedge.types import Array, Size

_CLASSES, _LABELS, _IMAGES = "classes.txt", "labels", "images"
_DATA = "data.yaml"
_INSIDE = 0.1
_LEAST_IOU = 0.99


class _Yolo(Format):
    summary = "YOLO segmentation: a folder of text files"
    layout = Layout.FOLDER
    whole = (_LABELS, _DATA)
    keeps = frozenset(
        {"holes", "parts", "overlaps", "categories", "empty_images", "folders", "endings"}
    )

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        return _YoloWriter(path)

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        root = path.parent if path.is_file() else path
        labels = root / _LABELS if (root / _LABELS).is_dir() else root
        names = _class_names(root, labels)
        folders = [images] if images is not None else [root / _IMAGES, root]
        files = [file for file in sorted(labels.rglob("*.txt")) if file.name != _CLASSES]
        splits = [file for file in files if _LABELS in file.relative_to(labels).parent.parts]
        for file in splits or files:
            called = _names_of_image(file.relative_to(labels).with_suffix(""))
            read = functools.partial(_image, file, called, folders, names, left_out)
            yield Entry(str(file), read)

    def recognises(self, path: Path) -> bool:
        root = path.parent if path.name == _DATA else path
        return root.is_dir() and (root / _DATA).is_file()


class _YoloWriter(Writer):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._classes: dict[str, int] = {}
        self._stems = Stems("YOLO")

    def _add(self, image: ImageMasks) -> list[Path]:
        stem = self._stems.take(image)
        rows = [row for record in image.masks for row in self._rows(record, image.size)]
        path = self._folder / _LABELS / f"{stem}.txt"
        return [write_text(path, "".join(rows))]

    def _rows(self, record: MaskRecord, size: Size) -> list[str]:
        if not record.area:
            self.left_out["empty masks"] += 1
            return []
        mask = record.mask
        rings = [part.keyhole for part in outlines(mask, middles=True)]
        if len(rings) > 1:
            one = joined(rings)
            if mask_iou(fill_with_border([one], size), mask) >= _LEAST_IOU:
                rings = [one]
                self.changed["masks of several parts, joined by lines"] += 1
            else:
                self.changed["masks of several parts, each an object of its own"] += 1
        number = self._classes.setdefault(record.category_name, len(self._classes))
        return [f"{number} {_shares(ring, size)}\n" for ring in rings]

    def close(self) -> list[Path]:
        """Write the classes."""
        if not self.added:
            return []
        names = self._classes or {DEFAULT_CATEGORY: 0}
        lines = ["path: .", "train: images", "val: images", "names:"]
        lines += [f"  {number}: {json_text(name)}" for name, number in names.items()]
        return [write_text(self._folder / _DATA, "\n".join(lines) + "\n")]


def _shares(ring: Array, size: Size) -> str:
    vertices = np.resize(ring, (max(len(ring), 3), 2))  # programs want three
    shares = (vertices + _INSIDE) / (size[1], size[0])
    return " ".join(f"{value:.7f}" for value in shares.ravel())


def _names_of_image(label: PurePath) -> list[str]:
    """What the image of a label file may be called, the likeliest first.

    Where each split has a folder of its own (``train/labels/a.txt``, as Roboflow exports it), the
    image is in another one beside the labels.
    """
    parts = label.parts
    if _LABELS not in parts[:-1]:
        return [label.as_posix()]
    place = len(parts) - 2 - parts[-2::-1].index(_LABELS)
    before, after = parts[:place], parts[place + 1 :]
    tried = ((*before, _IMAGES, *after), (*before, *after), after)
    return [PurePath(*names).as_posix() for names in tried]


def _class_names(root: Path, labels: Path) -> dict[int, str]:
    """Names of the classes: of ``data.yaml``, or of the ``classes.txt`` that labellers leave."""
    found = class_names(_text(root / _DATA, "a YAML file"))
    lists = [folder / _CLASSES for folder in (labels, root) if (folder / _CLASSES).is_file()]
    if found or not lists:
        return found
    return dict(enumerate(_text(lists[0], "a text file").split("\n")))


def _text(path: Path, expected: str) -> str:
    """A file's text, empty where it is not there."""
    if not path.is_file():
        return ""
    data = files.read_bytes(path, limit="document_bytes", expected=expected, error=DatasetError)
    return "\n".join(line.rstrip() for line in data.decode("utf-8-sig", "replace").splitlines())


def _image(
    file: Path,
    called: Sequence[str],
    folders: Sequence[Path],
    names: dict[int, str],
    left_out: Counter[str],
) -> ImageMasks:
    places = ((name, reading.find_image(name, folders)) for name in called)
    name, found = next((place for place in places if place[1] is not None), (called[0], None))
    if found is None:
        raise DatasetError(
            f"{file} gives shares of an image {name!r} that is not in "
            f"{' or '.join(map(str, folders))}: name the folder of the images (--images)."
        )
    size = reading.image_size(found)
    masks = _read_rows(file, size, names, left_out)
    return ImageMasks(reading.found_name(name, found), size, masks)


def _read_rows(
    file: Path, size: Size, names: dict[int, str], left_out: Counter[str]
) -> tuple[MaskRecord, ...]:
    read = functools.partial(_record, size=size, names=names)
    rows = [row for row in _text(file, "a text file").splitlines() if row.strip()]
    return tuple(filter(None, (reading.usable(read, row, left_out=left_out) for row in rows)))


def _record(row: str, *, size: Size, names: dict[int, str]) -> MaskRecord:
    words = row.split()
    if len(words) in (5, 6):
        raise UndrawableError("boxes without an outline")
    try:
        number, shares = float(words[0]), np.array(words[1:], np.float64)
    except ValueError as error:
        raise UndrawableError("rows that are no numbers") from error
    if not number.is_integer() or number < 0:
        raise UndrawableError("rows whose class is no number from 0 on")
    if len(shares) % 2:
        raise UndrawableError("rows with an odd number of coordinates")
    ring = reading.checked_ring(shares.reshape(-1, 2) * (size[1], size[0]), size)
    mask: npt.NDArray[np.bool_] = fill_with_border([np.floor(ring)], size)
    name = names.get(int(number), f"class {int(number)}")
    return record_from_mask(reading.required(mask), category=name)


FORMAT = _Yolo()
