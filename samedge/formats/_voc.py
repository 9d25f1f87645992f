"""Pascal VOC segmentation: palette pictures of classes and of objects in a folder."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from samedge.errors import DatasetError
from samedge.files import reading as files
from samedge.files.writing import write_text
from samedge.formats import reading
from samedge.formats.base import Entry, Format, Layout, Stems, Writer
from samedge.formats.label_maps import (
    VOID,
    Colour,
    numbered,
    read_indexed,
    save_indexed,
    voc_palette,
)
from samedge.formats.masks import ImageMasks, record_from_mask
from samedge.types import Array

_CLASSES, _OBJECTS, _LABELS = "SegmentationClass", "SegmentationObject", "labelmap.txt"
_LIST = Path("ImageSets") / "Segmentation" / "default.txt"
_COLOURED = 1 << 20  # the first index that stands for a colour of the label map
_OWN_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


class _Voc(Format):
    summary = "Pascal VOC: palette pictures of classes and objects"
    layout = Layout.FOLDER
    whole = (_OBJECTS, _CLASSES, _LABELS, _LIST.as_posix())
    keeps = frozenset({"holes", "parts", "categories", "empty_images", "folders"})

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        return _VocWriter(path)

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        labels = _labels(path / _LABELS)
        root = path / (_OBJECTS if (path / _OBJECTS).is_dir() else _CLASSES)
        pictures = sorted(root.rglob("*.png"))
        if not pictures:
            raise DatasetError(f"{path} has no pictures in {_OBJECTS} or {_CLASSES}.")
        for file in pictures:
            name = file.relative_to(root)
            shown = reading.named_as_in(images, name.as_posix())
            read = functools.partial(_image, file, path / _CLASSES / name, shown, labels)
            yield Entry(str(file), read)

    def recognises(self, path: Path) -> bool:
        return (path / _CLASSES).is_dir()


class _VocWriter(Writer):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._classes = {"background": 0}
        self._names: list[str] = []
        self._stems = Stems("Pascal VOC")

    def _add(self, image: ImageMasks) -> list[Path]:
        room = image.masks[: VOID - 1]
        self.left_out[f"masks beyond the {VOID - 1} of an image"] += len(image.masks) - len(room)
        objects = numbered(room, image.size, writer=self)
        known = dict(self._classes)
        classes = [0, *(known.setdefault(r.category_name, len(known)) for r in room)]
        if len(known) > VOID:
            raise DatasetError(
                f"{image.name} brings the {len(known)}th class, and Pascal VOC has room for {VOID}."
            )
        self._classes = known
        name = self._stems.take(image)
        self._names.append(name)
        return [
            save_indexed(self._folder / _OBJECTS / f"{name}.png", objects),
            save_indexed(self._folder / _CLASSES / f"{name}.png", np.array(classes)[objects]),
        ]

    def close(self) -> list[Path]:
        """Write the classes and the list of images."""
        if not self._names:
            return []
        colors = voc_palette()
        rows = ["# label:color_rgb:parts:actions"]
        rows += [
            f"{_one_field(name)}:{','.join(map(str, colors[3 * i : 3 * i + 3]))}::"
            for name, i in self._classes.items()
        ]
        return [
            write_text(self._folder / _LABELS, "\n".join(rows) + "\n"),
            write_text(self._folder / _LIST, "\n".join(self._names) + "\n"),
        ]


def _one_field(name: str) -> str:
    """A name without what ends a field or a row of the label map."""
    return " ".join(name.replace(":", " ").split())


@dataclasses.dataclass(frozen=True)
class _Labels:
    """Names by index, and the indices that colours stand for; ``None``: those of VOC's palette."""

    names: dict[int, str]
    colours: dict[Colour, int] | None = None


def _labels(path: Path) -> _Labels:
    """The classes of a label map: by the place of their colour in VOC's palette, and by colour."""
    if not path.is_file():
        return _Labels(dict(enumerate(_OWN_NAMES)))
    data = files.read_bytes(
        path, limit="document_bytes", expected="a label map", error=DatasetError
    )
    palette = voc_palette()
    places = {tuple(palette[3 * i : 3 * i + 3]): i for i in range(255, -1, -1)}
    names, colours = {}, {}
    rows = (row for row in data.decode("utf-8", "replace").splitlines() if row[:1] != "#")
    for place, row in enumerate(rows):
        name, _, rest = row.partition(":")
        color = tuple(int(v) for v in rest.partition(":")[0].split(",") if v.strip().isdecimal())
        if name:
            names[places.get(color, place)] = name
            if len(color) == 3:
                colours[color] = _COLOURED + place if any(color) else 0
                names[colours[color]] = name
    return _Labels(names, colours or None)


def _image(file: Path, classes_file: Path, name: str, labels: _Labels) -> ImageMasks:
    is_class = file == classes_file
    objects = read_indexed(file, labels.colours if is_class else None)
    classes = None
    if not is_class and classes_file.is_file():
        classes = read_indexed(classes_file, labels.colours)
    if classes is not None and classes.shape != objects.shape:
        raise DatasetError(f"{file} and {classes_file} have different sizes: mend one.")
    masks = []
    for number in np.unique(objects):
        if number in (0, VOID):
            continue
        mask = objects == number
        kind = number if classes is None else _commonest(classes[mask])
        masks.append(record_from_mask(mask, category=labels.names.get(int(kind), f"class {kind}")))
    height, width = objects.shape
    return ImageMasks(name, (height, width), tuple(masks))


def _commonest(indices: Array) -> int:
    values, counts = np.unique(indices, return_counts=True)
    return int(values[counts.argmax()])


FORMAT = _Voc()
