"""Pascal VOC segmentation: palette pictures of classes and of objects in a folder."""

from __future__ import annotations

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
from samedge.formats.label_maps import VOID, numbered, read_indexed, save_indexed, voc_palette
from samedge.formats.masks import ImageMasks, record_from_mask

_CLASSES, _OBJECTS, _LABELS = "SegmentationClass", "SegmentationObject", "labelmap.txt"
_LIST = Path("ImageSets") / "Segmentation" / "default.txt"
_OWN_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


class _Voc(Format):
    summary = "Pascal VOC: palette pictures of classes and objects"
    layout = Layout.FOLDER
    keeps = frozenset({"holes", "parts", "categories", "empty_images", "folders"})

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        return _VocWriter(path)

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        names = _names(path / _LABELS)
        root = path / (_OBJECTS if (path / _OBJECTS).is_dir() else _CLASSES)
        pictures = sorted(root.rglob("*.png"))
        if not pictures:
            raise DatasetError(f"{path} has no pictures in {_OBJECTS} or {_CLASSES}.")
        for file in pictures:
            name = file.relative_to(root)
            shown = reading.named_as_in(images, name.as_posix())
            read = functools.partial(_image, file, path / _CLASSES / name, shown, names)
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


def _names(path: Path) -> dict[int, str]:
    """Class names by their index: their colour's place in VOC's palette."""
    if not path.is_file():
        return dict(enumerate(_OWN_NAMES))
    data = files.read_bytes(
        path, limit="document_bytes", expected="a label map", error=DatasetError
    )
    colors = voc_palette()
    places = {tuple(colors[3 * i : 3 * i + 3]): i for i in range(255, -1, -1)}
    names = {}
    for place, row in enumerate(
        r for r in data.decode("utf-8", "replace").splitlines() if r[:1] != "#"
    ):
        name, _, rest = row.partition(":")
        color = tuple(int(v) for v in rest.partition(":")[0].split(",") if v.strip().isdecimal())
        if name:
            names[places.get(color, place)] = name
    return names


def _image(file: Path, classes_file: Path, name: str, names: dict[int, str]) -> ImageMasks:
    objects = read_indexed(file)
    classes = read_indexed(classes_file) if classes_file.is_file() else None
    if classes is not None and classes.shape != objects.shape:
        raise DatasetError(f"{file} and {classes_file} have different sizes: mend one.")
    masks = []
    for number in np.unique(objects):
        if number in (0, VOID):
            continue
        mask = objects == number
        kind = number if classes is None else np.bincount(classes[mask]).argmax()
        masks.append(record_from_mask(mask, category=names.get(int(kind), f"class {kind}")))
    height, width = objects.shape
    return ImageMasks(name, (height, width), tuple(masks))


FORMAT = _Voc()
