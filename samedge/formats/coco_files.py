"""COCO's instances format: written as it comes, read entry by entry.

What ``_coco.py`` and ``_coco_polygons.py`` share. Masks are in the frame of the upright picture,
and each image says so (``"frame": "upright"``).
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from samedge._version import __version__
from samedge.files.json_text import json_text
from samedge.formats import reading
from samedge.formats.annotation_file import (
    AnnotatedImage,
    Annotation,
    AnnotationFile,
    read_annotations,
)
from samedge.formats.base import PROPERTIES, Entry, Format, Layout, Writer
from samedge.formats.documents import GrowingFile, GrowingList
from samedge.formats.masks import ImageMasks, MaskRecord, record_from_mask
from samedge.pixels.orientation import FRAMES
from samedge.pixels.segmentations import mask_from_segmentation
from samedge.types import Size

ABOUT = {"description": "Masks by samedge", "version": __version__}
"""What stands under ``info``, by which samedge knows its own files."""

Shape = dict[str, object] | list[list[float]] | list[list[int]]


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
        start = f'{{"info": {json_text(ABOUT)},\n"annotations": ['
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
        if record.word_score is not UNSET:
            entry["word_score"] = record.word_score
        return entry

    def close(self) -> list[Path]:
        """Write the images and categories, and put the file in its place."""
        if not self._images or not self._file.is_open:
            return self._file.commit()
        categories = [
            {"id": number, "name": name}
            for name, number in (self._categories or {"object": 1}).items()
        ]
        rest = f'"images": {json_text(self._images)},\n"categories": {json_text(categories)}'
        self._file.write(f"\n],\n{rest}}}\n")
        return self._file.commit()


def read_coco(path: Path, *, images: Path | None, left_out: Counter[str]) -> Iterator[Entry]:
    """A COCO file's images in its order.

    Args:
        path: the file.
        images: folder of the images.
        left_out: counts annotations that cannot be drawn, by reason.

    Raises:
        DatasetError: not COCO's instances format, or ids that are not unique.
        BackendUnavailableError: there are polygons, and pycocotools is not installed.
    """
    file = read_annotations(path)
    for image, found in file:
        read = functools.partial(_image, image, found, file, images, left_out)
        yield Entry(f"{path}: image {image.id}", read)


def _image(
    image: AnnotatedImage,
    annotations: Sequence[Annotation],
    file: AnnotationFile,
    images: Path | None,
    left_out: Counter[str],
) -> ImageMasks:
    masks = []
    for annotation in annotations:
        mask = reading.usable(_mask, (annotation, image.size), left_out=left_out)
        if mask is not None:
            masks.append(_record(mask, annotation, file.categories))
    frame = image.frame if image.frame in FRAMES else None
    is_own = frame is not None or file.description == ABOUT["description"]
    name = reading.image_name(image.file_name, images, is_own=is_own)
    return ImageMasks(name, image.size, tuple(masks), frame=frame)


def _mask(entry: tuple[Annotation, Size]) -> npt.NDArray[np.bool_]:
    annotation, size = entry
    return reading.required(mask_from_segmentation(annotation.segmentation, size))


def _record(
    mask: npt.NDArray[np.bool_], annotation: Annotation, names: dict[int, str]
) -> MaskRecord:
    number = annotation.category_id
    record = record_from_mask(
        mask,
        predicted_iou=annotation.score,
        stability_score=annotation.stability_score,
        category=UNSET if number is None else names.get(number, UNSET),
    )
    if annotation.word_score is not None:
        record = msgspec.structs.replace(record, word_score=annotation.word_score)
    return msgspec.structs.replace(record, is_crowd=True) if annotation.iscrowd else record


class CocoFormat(Format):
    """COCO instances; a subclass says how a mask is written."""

    layout = Layout.ONE_FILE
    endings = (".json",)
    whole = ("masks.json",)
    keeps = frozenset(PROPERTIES) - {"prompts"}

    @abstractmethod
    def shape(self, record: MaskRecord) -> Shape:
        """What ``segmentation`` holds of a mask."""

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        """A writer of one file."""
        return CocoWriter(path / self.whole[0] if is_folder else path, self.shape)

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        """Run lengths and polygons, whichever an annotation has."""
        yield from read_coco(path, images=images, left_out=left_out)
