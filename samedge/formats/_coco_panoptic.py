"""COCO panoptic: ``panoptic.json`` and a folder of pictures whose colours are segment ids."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET
from PIL import Image

from samedge.errors import DatasetError
from samedge.files.json_text import json_text
from samedge.files.writing import replacing, write_text
from samedge.formats import reading
from samedge.formats.base import Entry, Format, Layout, Writer
from samedge.formats.coco_files import ABOUT
from samedge.formats.label_maps import numbered, voc_palette
from samedge.formats.masks import (
    DEFAULT_CATEGORY,
    ImageMasks,
    MaskRecord,
    inside,
    record_from_mask,
)
from samedge.pixels.images import load_image
from samedge.pixels.orientation import FRAMES

_NAME = "panoptic"


class _Segment(msgspec.Struct):
    id: int
    category_id: int
    iscrowd: int = 0


class _Annotation(msgspec.Struct):
    image_id: int | str
    file_name: str
    segments_info: list[_Segment]


class _Image(msgspec.Struct):
    id: int | str
    file_name: str
    height: int
    width: int
    frame: str | None = None


class _Category(msgspec.Struct):
    id: int
    name: str


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]
    info: Any = None


class _Panoptic(Format):
    summary = "COCO panoptic: JSON and pictures of segment ids"
    layout = Layout.FOLDER
    whole = (_NAME, f"{_NAME}.json")
    keeps = frozenset(
        {"holes", "parts", "categories", "crowds", "empty_images", "folders", "endings", "frame"}
    )

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        return _PanopticWriter(path)

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        file = path / f"{_NAME}.json" if path.is_dir() else path
        found = reading.converted(reading.read_json(file), _File, where=str(file))
        names = {category.id: category.name for category in found.categories}
        by_id = {annotation.image_id: annotation for annotation in found.annotations}
        for image in found.images:
            read = functools.partial(
                _image, file, found.info, image, by_id.get(image.id), names, images, left_out
            )
            yield Entry(f"{file}: {image.file_name}", read)

    def recognises(self, path: Path) -> bool:
        if path.is_dir():
            return (path / f"{_NAME}.json").is_file() and (path / _NAME).is_dir()
        return reading.has_keys(path, "segments_info")


class _PanopticWriter(Writer):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._images: list[dict[str, object]] = []
        self._annotations: list[dict[str, object]] = []
        self._categories: dict[str, int] = {}

    def _add(self, image: ImageMasks) -> list[Path]:
        numbers = numbered(image.masks, image.size, writer=self)
        picture = str(image.place.with_suffix(".png"))
        path = self._folder / _NAME / picture
        colors = np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16], axis=-1)
        with replacing(path) as temporary:
            Image.fromarray(colors.astype(np.uint8)).save(temporary)
        height, width = image.size
        image_id = len(self._images) + 1
        segments = []
        for number in np.unique(numbers[numbers > 0]).tolist():
            record = image.masks[number - 1]
            seen = record_from_mask(numbers == number)
            category = self._categories.setdefault(record.category_name, len(self._categories) + 1)
            about = {"id": number, "category_id": category, "area": seen.area, "bbox": seen.bbox}
            segments.append(about | {"iscrowd": int(record.is_crowd is True)})
        entry = {"id": image_id, "file_name": image.name, "height": height, "width": width}
        self._images.append(entry | ({"frame": image.frame} if image.frame else {}))
        self._annotations.append(
            {"image_id": image_id, "file_name": picture, "segments_info": segments}
        )
        self.left_out["empty masks"] += sum(not record.area for record in image.masks)
        return [path]

    def close(self) -> list[Path]:
        """Write the JSON file."""
        if not self._images:
            return []
        colors = voc_palette()
        categories = [
            {"id": i, "name": name, "isthing": 1, "supercategory": name}
            | {"color": colors[3 * (i % 256) : 3 * (i % 256) + 3]}
            for name, i in (self._categories or {DEFAULT_CATEGORY: 1}).items()
        ]
        document = {
            "info": ABOUT,
            "images": self._images,
            "annotations": self._annotations,
            "categories": categories,
        }
        return [write_text(self._folder / f"{_NAME}.json", json_text(document) + "\n")]


def _image(
    file: Path,
    about: object,
    image: _Image,
    annotation: _Annotation | None,
    names: dict[int, str],
    images: Path | None,
    left_out: Counter[str],
) -> ImageMasks:
    size = reading.checked_size(image.height, image.width, where=f"{file}: {image.file_name}")
    masks: tuple[MaskRecord, ...] = ()
    if annotation is not None:
        picture = reading.image_name(annotation.file_name, file.with_suffix(""))
        numbers = _numbers(file.with_suffix("") / inside(picture), size)
        masks = tuple(_records(annotation, numbers, names, left_out))
    frame = image.frame if image.frame in FRAMES else None
    is_own = frame is not None or (
        isinstance(about, dict) and about.get("description") == ABOUT["description"]
    )
    name = reading.image_name(image.file_name, images, is_own=is_own)
    return ImageMasks(name, size, masks, frame=frame)


def _numbers(path: Path, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    colors = load_image(path).astype(np.int64)
    if colors.shape[:2] != size:
        raise DatasetError(
            f"{path} is {colors.shape[0]} x {colors.shape[1]} (height x width), but its image "
            f"{size[0]} x {size[1]}: mend one."
        )
    return np.asarray(colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2])


def _records(
    annotation: _Annotation, numbers: Any, names: dict[int, str], left_out: Counter[str]
) -> Iterator[MaskRecord]:
    for segment in annotation.segments_info:
        mask = numbers == segment.id
        if not mask.any():
            left_out["masks without a pixel"] += 1
            continue
        record = record_from_mask(mask, category=names.get(segment.category_id, UNSET))
        yield msgspec.structs.replace(record, is_crowd=True) if segment.iscrowd else record


FORMAT = _Panoptic()
