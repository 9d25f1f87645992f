"""COCO's instances format: written as it comes, read entry by entry.

What ``_coco.py`` and ``_coco_polygons.py`` share. Masks are in the frame of the upright picture,
and each image says so (``"frame": "upright"``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from samedge._version import __version__
from samedge.errors import DatasetError
from samedge.files.json_text import json_text
from samedge.formats import reading
from samedge.formats.base import Writer
from samedge.formats.documents import GrowingFile, GrowingList
from samedge.formats.masks import ImageMasks, MaskRecord, record_from_mask
from samedge.formats.reading import OddEntryError
from samedge.pixels.orientation import FRAMES
from samedge.types import Size

Shape = dict[str, object] | list[list[float]] | list[list[int]]


class _Image(msgspec.Struct):
    id: int
    file_name: str
    height: int
    width: int
    frame: str | None = None


class _Category(msgspec.Struct):
    id: int
    name: str


class _Annotation(msgspec.Struct):
    image_id: int
    segmentation: Any
    id: int | str | None = None
    category_id: int | None = None
    iscrowd: int = 0
    score: float | None = None
    stability_score: float | None = None


class CocoWriter(Writer):
    """One COCO file for all images.

    Args:
        path: the file.
        shape: how a mask is written into ``segmentation``.
    """

    def __init__(self, path: Path, shape: Callable[[MaskRecord], Shape]) -> None:
        super().__init__()
        self._shape = shape
        self._file = GrowingFile(path)
        about = {"description": "Masks by samedge", "version": __version__}
        start = f'{{"info": {json_text(about)},\n"annotations": ['
        self._annotations = GrowingList(self._file, start)
        self._images: list[dict[str, object]] = []
        self._categories: dict[str, int] = {}

    def _add(self, image: ImageMasks) -> list[Path]:
        image_id = len(self._images) + 1
        drawn = [record for record in image.masks if record.area]
        known = dict(self._categories)
        entries: list[object] = []
        for number, record in enumerate(drawn, start=self._annotations.count + 1):
            category = known.setdefault(record.category_name, len(known) + 1)
            entries.append(self._entry(record, number, image_id, category))
        self._annotations.extend(entries)
        self._categories = known
        self.left_out["empty masks"] += len(image.masks) - len(drawn)
        height, width = image.size
        entry = {"id": image_id, "file_name": image.name, "height": height, "width": width}
        self._images.append(entry | ({"frame": image.frame} if image.frame else {}))
        return []

    def _entry(
        self, record: MaskRecord, number: int, image_id: int, category_id: int
    ) -> dict[str, object]:
        entry: dict[str, object] = {
            "id": number,
            "image_id": image_id,
            "category_id": category_id,
            "iscrowd": int(record.is_crowd is True),
            "segmentation": self._shape(record),
            "bbox": record.bbox,
            "area": record.area,
        }
        if record.predicted_iou is not None:
            entry["score"] = record.predicted_iou
        if record.stability_score is not None:
            entry["stability_score"] = record.stability_score
        return entry

    def close(self) -> list[Path]:
        """Write the images and categories, and put the file in its place."""
        if not self._images or not self._file.is_open:
            return []
        categories = [
            {"id": number, "name": name}
            for name, number in (self._categories or {"object": 1}).items()
        ]
        rest = f'"images": {json_text(self._images)},\n"categories": {json_text(categories)}'
        self._file.write(f"\n],\n{rest}}}\n")
        return self._file.commit()


def read_coco(path: Path, left_out: Counter[str]) -> Iterator[ImageMasks]:
    """Read a COCO file's images in its order.

    Args:
        path: the file.
        left_out: counts annotations that cannot be drawn, by reason.

    Raises:
        DatasetError: not COCO's instances format, or ids that are not unique.
    """
    document = reading.read_json(path)
    lists = [document.get(key) if isinstance(document, dict) else None for key in _LISTS]
    if not (isinstance(lists[0], list) and isinstance(lists[1], list)):
        raise DatasetError(
            f"{path} has no lists `images` and `annotations`: expected COCO's instances format."
        )
    images = _images(path, lists[0])
    names = {
        entry.id: entry.name
        for entry in reading.converted(lists[2] or [], list[_Category], where=f"{path}: categories")
    }
    found = _by_image(lists[1], images, left_out)
    for image in images.values():
        size = reading.checked_size(image.height, image.width, where=f"{path}: {image.file_name}")
        masks = tuple(_records(found.pop(image.id, []), size, names, left_out))
        frame = image.frame if image.frame in FRAMES else None
        yield ImageMasks(image.file_name, size, masks, frame=frame)


_LISTS = ("images", "annotations", "categories")


def _images(path: Path, entries: list[Any]) -> dict[int, _Image]:
    images: dict[int, _Image] = {}
    for place, entry in enumerate(entries):
        image = reading.converted(entry, _Image, where=f"{path}: images[{place}]")
        if image.id in images:
            raise DatasetError(
                f"{path}: two images have the id {image.id}, so nobody can tell whose the "
                "annotations are: give every image an id of its own."
            )
        images[image.id] = image
    return images


def _by_image(
    entries: list[Any], images: dict[int, _Image], left_out: Counter[str]
) -> dict[int, list[_Annotation]]:
    found: dict[int, list[_Annotation]] = {}
    for entry in entries:
        annotation = reading.usable(_annotation, entry, left_out)
        if annotation is None:
            continue
        if annotation.image_id not in images:
            left_out["annotations of an image that is not in the file"] += 1
            continue
        found.setdefault(annotation.image_id, []).append(annotation)
    return found


def _annotation(entry: object) -> _Annotation:
    return msgspec.convert(entry, _Annotation)


def _records(
    annotations: list[_Annotation], size: Size, names: dict[int, str], left_out: Counter[str]
) -> Iterator[MaskRecord]:

    def draw(annotation: _Annotation) -> npt.NDArray[np.bool_]:
        return reading.required(_mask(annotation.segmentation, size))

    for annotation in annotations:
        mask = reading.usable(draw, annotation, left_out)
        if mask is None:
            continue
        record = record_from_mask(
            mask,
            predicted_iou=annotation.score,
            stability_score=annotation.stability_score,
            category=names.get(annotation.category_id or 0, UNSET),
        )
        yield msgspec.structs.replace(record, is_crowd=True) if annotation.iscrowd else record


def _mask(segmentation: Any, size: Size) -> npt.NDArray[np.bool_]:
    if isinstance(segmentation, list):
        return reading.mask_from_rings(segmentation, size, union=True)
    if not isinstance(segmentation, dict):
        raise OddEntryError("no segmentation")
    if list(segmentation.get("size") or ()) != list(size):
        raise OddEntryError("a mask of another size than its image")
    return reading.mask_from_runs(segmentation.get("counts"), size)
