"""One JSON file an image, as the SA-1B dataset has it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from samedge.files.json_text import json_text
from samedge.files.writing import write_text
from samedge.formats import reading
from samedge.formats.base import Entry, ImageFormat, Writer
from samedge.formats.masks import ImageMasks, MaskRecord, record_from_mask
from samedge.pixels.orientation import FRAMES
from samedge.pixels.segmentations import UndrawableError
from samedge.types import Size


class _Runs(msgspec.Struct):
    size: tuple[int, int]
    counts: Any


class _Annotation(msgspec.Struct):
    segmentation: _Runs
    predicted_iou: float | None = None
    stability_score: float | None = None


class _Image(msgspec.Struct):
    file_name: str
    height: int
    width: int
    frame: str | None = None


class _File(msgspec.Struct):
    image: _Image
    annotations: list[Any]


class _Sam(ImageFormat):
    summary = "SA-1B: one JSON file an image"
    endings = (".json",)
    tail = "_sam"
    holds_no_mask = True
    keeps = frozenset(
        {"holes", "parts", "overlaps", "predicted_iou", "stability", "empty_images"}
        | {"folders", "endings", "frame"}
    )

    def write_image(self, path: Path, image: ImageMasks, *, writer: Writer) -> list[Path]:
        drawn = [record for record in image.masks if record.area]
        height, width = image.size
        entry = {"image_id": writer.added + 1, "file_name": image.name}
        entry |= {"height": height, "width": width}
        document = {
            "image": entry | ({"frame": image.frame} if image.frame else {}),
            "annotations": [_entry(record, image, n) for n, record in enumerate(drawn, start=1)],
        }
        write_text(path, json_text(document) + "\n")
        writer.left_out["empty masks"] += len(image.masks) - len(drawn)
        return [path]

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            yield Entry(str(file), functools.partial(_image, file, images, left_out))

    def recognises(self, path: Path) -> bool:
        if path.is_dir():
            return reading.first_of(path, "*.json", recognised=self.recognises)
        return reading.has_keys(path, "image", "annotations", "file_name")


def _entry(record: MaskRecord, image: ImageMasks, number: int) -> dict[str, object]:
    height, width = image.size
    asked = [] if record.prompt is UNSET else record.prompt.points
    return {
        "id": number,
        "segmentation": record.rle,
        "bbox": record.bbox,
        "area": record.area,
        "predicted_iou": record.predicted_iou,
        "stability_score": record.stability_score,
        "crop_box": [0, 0, width, height] if record.crop_box is UNSET else record.crop_box,
        "point_coords": asked if record.point is UNSET else [record.point],
    }


def _image(file: Path, images: Path | None, left_out: Counter[str]) -> ImageMasks:
    found = reading.converted(reading.read_json(file), _File, where=str(file))
    size = reading.checked_size(found.image.height, found.image.width, where=f"{file}: image")
    read = functools.partial(_record, size=size)
    records = [reading.usable(read, entry, left_out=left_out) for entry in found.annotations]
    frame = found.image.frame if found.image.frame in FRAMES else None
    name = reading.image_name(found.image.file_name, images, file=file, is_own=frame is not None)
    return ImageMasks(name, size, tuple(filter(None, records)), frame=frame)


def _record(entry: object, *, size: Size) -> MaskRecord:
    annotation = msgspec.convert(entry, _Annotation)
    if annotation.segmentation.size != size:
        raise UndrawableError("a mask of another size than its image")
    return record_from_mask(
        reading.required(reading.mask_from_runs(annotation.segmentation.counts, size)),
        predicted_iou=annotation.predicted_iou,
        stability_score=annotation.stability_score,
    )


FORMAT = _Sam()
