"""Label Studio: one JSON file of tasks, each mask a brush, as predictions to be corrected."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import numpy as np
import numpy.typing as npt

from samedge._version import __version__
from samedge.errors import DatasetError
from samedge.formats import reading
from samedge.formats.base import Entry, Format, Layout, Writer
from samedge.formats.brush import brush_from_mask, mask_from_brush
from samedge.formats.documents import GrowingFile, GrowingList
from samedge.formats.masks import DEFAULT_CATEGORY, ImageMasks, MaskRecord, record_from_mask
from samedge.pixels.image_files import IMAGE_SUFFIXES
from samedge.pixels.segmentations import UndrawableError
from samedge.types import Size

_LABELS = "labels"  # a result of labels alone, and the end of the types of shapes that have some
_OWN = "samedge "  # what the version of a model of ours begins with
_FROM, _TO = "tag", "image"  # names in the labelling configuration of Label Studio's own templates


class _Result(msgspec.Struct):
    type: str
    value: dict[str, object]
    id: str | int | None = None
    original_width: int | None = None
    original_height: int | None = None
    score: float | None = None


class _Answer(msgspec.Struct):
    result: list[Any] = []
    was_cancelled: bool = False
    model_version: str | None = None


class _Task(msgspec.Struct):
    data: dict[str, object]
    annotations: list[_Answer] = []
    predictions: list[_Answer] = []


class _LabelStudio(Format):
    summary = "Label Studio tasks with brush masks, JSON"
    layout = Layout.ONE_FILE
    endings = (".json",)
    whole = ("tasks.json",)
    keeps = frozenset(
        {
            "holes",
            "parts",
            "overlaps",
            "categories",
            "predicted_iou",
            "empty_images",
            "folders",
            "endings",
        }
    )

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        return _LabelStudioWriter(path / self.whole[0] if is_folder else path)

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        document = reading.read_json(path)
        tasks = document if isinstance(document, list) else [document]
        for place, entry in enumerate(tasks):
            where = f"{path}: task {place}"
            yield Entry(where, functools.partial(_image, entry, images, left_out, where=where))

    def recognises(self, path: Path) -> bool:
        return reading.has_keys(path, "data") and (
            reading.has_keys(path, "predictions")
            or reading.has_keys(path, "annotations", "from_name")
        )


class _LabelStudioWriter(Writer):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = GrowingFile(path)
        self._tasks = GrowingList(self._file, "[")

    def _add(self, image: ImageMasks) -> list[Path]:
        drawn = [record for record in image.masks if record.area]
        results = [_result(record, image, place) for place, record in enumerate(drawn)]
        prediction = {"model_version": f"{_OWN}{__version__}", "result": results}
        self._tasks.extend([{"data": {"image": image.name}, "predictions": [prediction]}])
        self.left_out["empty masks"] += len(image.masks) - len(drawn)
        return []

    def close(self) -> list[Path]:
        """Put the file in its place."""
        if self._file.is_open:
            self._file.write("\n]\n")
        return self._file.commit()


def _result(record: MaskRecord, image: ImageMasks, place: int) -> dict[str, object]:
    height, width = image.size
    value = {
        "format": "rle",
        "rle": brush_from_mask(record.mask),
        "brushlabels": [record.category_name],
    }
    result: dict[str, object] = {
        "id": f"mask{place}",
        "type": "brushlabels",
        "from_name": _FROM,
        "to_name": _TO,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": value,
    }
    return result if record.predicted_iou is None else result | {"score": record.predicted_iou}


def _image(entry: object, images: Path | None, left_out: Counter[str], *, where: str) -> ImageMasks:
    task = reading.converted(entry, _Task, where=where)
    is_own = any((answer.model_version or "").startswith(_OWN) for answer in task.predictions)
    name = reading.image_name(_image_name(task.data), images, is_own=is_own)
    answers = [a for a in task.annotations if not a.was_cancelled] or task.predictions[:1]
    results = [
        result
        for answer in answers
        for entry in answer.result
        if (result := reading.usable(_converted, entry, left_out=left_out)) is not None
    ]
    size = _size(results, name, images, where=where)
    labels: dict[str | int | None, str | None]
    labels = {r.id: _label(r) for r in results if r.type == _LABELS and r.id is not None}
    shapes = [r for r in results if r.type != _LABELS or r.id is None]
    read = functools.partial(_record, size=size, labels=labels)
    found = [reading.usable(read, result, left_out=left_out) for result in shapes]
    return ImageMasks(name, size, tuple(filter(None, found)))


def _image_name(data: Mapping[str, object]) -> str:
    """The image among a task's data, by Label Studio's usual name, by its ending, or the first.

    Of the address of a local or an uploaded file its path is the name.
    """
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    pictures = [text for text in texts.values() if text.lower().endswith(IMAGE_SUFFIXES)]
    name = texts.get("image", next(iter([*pictures, *texts.values()]), ""))
    for start in ("/data/local-files/?d=", "/data/upload/"):
        if name.startswith(start):
            return unquote(name.removeprefix(start))
    return name


def _converted(entry: object) -> _Result:
    return msgspec.convert(entry, _Result)


def _size(results: Sequence[_Result], name: str, images: Path | None, *, where: str) -> Size:
    for result in results:
        if result.original_height and result.original_width:
            return reading.checked_size(result.original_height, result.original_width, where=where)
    found = reading.find_image(name, [images]) if images is not None else None
    if found is None:
        raise DatasetError(
            f"{where} has no result, so nothing says how large {name!r} is: name the folder of the "
            "images (--images)."
        )
    return reading.image_size(found)


def _record(
    result: _Result, *, size: Size, labels: Mapping[str | int | None, str | None]
) -> MaskRecord:
    """One result's mask; a shape without a label has that of the result of the same id."""
    draw = _DRAWERS.get(result.type.removesuffix(_LABELS))
    if draw is None:
        raise UndrawableError(f"results of type {result.type!r:.40}, which have no inside")
    return record_from_mask(
        reading.required(draw(result.value, size)),
        predicted_iou=result.score,
        category=_label(result) or labels.get(result.id) or DEFAULT_CATEGORY,
    )


def _label(result: _Result) -> str | None:
    labels = result.value.get(result.type)
    is_named = isinstance(labels, list) and labels and isinstance(labels[0], str)
    return labels[0] if is_named else None  # type: ignore[index]


def _from_brush(value: Mapping[str, object], size: Size) -> npt.NDArray[np.bool_]:
    return mask_from_brush(value.get("rle"), size)


def _from_polygon(value: Mapping[str, object], size: Size) -> npt.NDArray[np.bool_]:
    points: Any = value.get("points") or []
    points = reading.checked_ring(points, (100, 100))
    return reading.mask_from_rings([points * (size[1] / 100, size[0] / 100)], size)


def _from_rectangle(value: Mapping[str, object], size: Size) -> npt.NDArray[np.bool_]:
    x, y, width, height = _numbers(value, "x", "y", "width", "height")
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)])
    scaled = corners * (size[1] / 100, size[0] / 100)
    (angle,) = _numbers({"rotation": value.get("rotation", 0)}, "rotation")
    turn = np.deg2rad(angle)  # clockwise around the top left corner
    turned = scaled @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    start = np.array([x * size[1] / 100, y * size[0] / 100])
    return reading.mask_from_rings([turned + start], size)


def _from_ellipse(value: Mapping[str, object], size: Size) -> npt.NDArray[np.bool_]:
    x, y, radius_x, radius_y = _numbers(value, "x", "y", "radiusX", "radiusY")
    (angle,) = _numbers({"rotation": value.get("rotation", 0)}, "rotation")
    turn = np.deg2rad(angle)
    around = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    ring = np.stack([radius_x * np.cos(around), radius_y * np.sin(around)], axis=1)
    scaled = ring * (size[1] / 100, size[0] / 100)
    turned = scaled @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    middle = np.array([x * size[1] / 100, y * size[0] / 100])
    return reading.mask_from_rings([turned + middle], size)


def _numbers(value: Mapping[str, object], *names: str) -> tuple[float, ...]:
    found = [reading.float_or_none(value.get(name)) for name in names]
    numbers = tuple(number for number in found if number is not None)
    if len(numbers) != len(found):
        raise UndrawableError("coordinates that are no numbers")
    return numbers


_DRAWERS: Mapping[str, Any] = {
    "brush": _from_brush,
    "polygon": _from_polygon,
    "rectangle": _from_rectangle,
    "ellipse": _from_ellipse,
}

FORMAT = _LabelStudio()
