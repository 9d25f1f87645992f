"""LabelMe: one JSON file an image, beside it.

Outlines run through the outermost pixels, from which LabelMe draws the very mask. A mask with holes
is written as LabelMe's own ``mask`` shape; the parts of one object share a ``group_id``.
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from samedge.errors import DatasetError
from samedge.files.json_text import json_text
from samedge.files.writing import write_text
from samedge.formats import reading
from samedge.formats.base import PROPERTIES, Entry, ImageFormat, Writer
from samedge.formats.masks import ImageMasks, MaskRecord, record_from_mask
from samedge.pixels.images import load_image
from samedge.pixels.outlines import outlines
from samedge.pixels.segmentations import UndrawableError
from samedge.types import Size

_VERSION = "5.5.0"  # of LabelMe, whose fields these are


class _Shape(msgspec.Struct):
    label: str | int
    points: list[tuple[float, float]]
    shape_type: str | None = None
    group_id: int | str | None = None
    mask: str | None = None
    score: float | None = None


class _File(msgspec.Struct, rename="camel"):
    shapes: list[Any]
    image_path: str | None = None
    image_height: int | None = None
    image_width: int | None = None


class _LabelMe(ImageFormat):
    summary = "LabelMe (and X-AnyLabeling): one JSON file an image"
    endings = (".json",)
    keeps = frozenset(PROPERTIES) - {"stability", "prompts", "crowds", "frame"}

    def write_image(self, path: Path, image: ImageMasks, *, writer: Writer) -> list[Path]:
        height, width = image.size
        shapes: list[dict[str, object]] = []
        for place, record in enumerate(image.masks):
            shapes += _shapes(record, place + 1)
        document: dict[str, object] = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": PurePosixPath(image.name).name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_text(path, json_text(document, indent=2) + "\n")
        writer.left_out["empty masks"] += sum(not record.area for record in image.masks)
        return [path]

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        root = path if path.is_dir() else path.parent
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            folder = file.parent.relative_to(root)
            yield Entry(str(file), functools.partial(_image, file, folder, images, left_out))

    def recognises(self, path: Path) -> bool:
        if path.is_dir():
            return reading.first_of(path, "*.json", recognised=self.recognises)
        return reading.has_keys(path, "shapes") and reading.has_tail(path, "imagePath")


def _shapes(record: MaskRecord, group: int) -> list[dict[str, object]]:
    mask = record.mask
    parts = outlines(mask, middles=True)
    about: dict[str, object] = {
        "label": record.category_name,
        "group_id": group if len(parts) > 1 else None,
        "description": "",
        "flags": {},
        "score": record.predicted_iou,
    }
    if any(part.holes or len(part.outer) < 3 for part in parts):
        return [about | {"group_id": None} | _mask_shape(mask)]
    return [
        about | {"shape_type": "polygon", "points": part.outer.tolist(), "mask": None}
        for part in parts
    ]


def _mask_shape(mask: npt.NDArray[np.bool_]) -> dict[str, object]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    (top, bottom), (left, right) = (rows[0], rows[-1]), (columns[0], columns[-1])
    stream = io.BytesIO()
    cut = mask[top : bottom + 1, left : right + 1]
    Image.fromarray(cut.astype(np.uint8) * 255).save(stream, "PNG")
    return {
        "shape_type": "mask",
        "points": [[int(left), int(top)], [int(right), int(bottom)]],
        "mask": base64.b64encode(stream.getvalue()).decode("ascii"),
    }


def _image(file: Path, folder: Path, images: Path | None, left_out: Counter[str]) -> ImageMasks:
    found = reading.converted(reading.read_json(file), _File, where=str(file))
    folders = [images] if images else [file.parent]
    # The name alone: what stands before it is a path of another machine.
    named = reading.image_name(found.image_path or "", folders, file=file)
    title = (folder / (PurePosixPath(named).name or file.stem)).as_posix()
    size = _size(found, title, folders, where=file)
    read = functools.partial(_drawn, size=size)
    drawn = [reading.usable(read, entry, left_out=left_out) for entry in found.shapes]
    masks: list[MaskRecord] = []
    groups: dict[tuple[str | int, int | str], list[tuple[_Shape, npt.NDArray[np.bool_]]]] = {}
    for place, entry in enumerate(filter(None, drawn)):
        shape = entry[0]
        key = (shape.label, -1 - place if shape.group_id is None else shape.group_id)
        groups.setdefault(key, []).append(entry)
    for entries in groups.values():
        shape = entries[0][0]
        mask = functools.reduce(np.logical_or, [mask for _, mask in entries])
        masks.append(record_from_mask(mask, predicted_iou=shape.score, category=str(shape.label)))
    return ImageMasks(title, size, tuple(masks))


def _size(found: _File, name: str, folders: list[Path], *, where: Path) -> Size:
    """Of the image, by the file or by the image itself."""
    if found.image_height is not None and found.image_width is not None:
        return reading.checked_size(found.image_height, found.image_width, where=f"{where}: image")
    path = reading.find_image(name, folders)
    if path is None:
        raise DatasetError(
            f"{where} does not say how large its image {name!r} is: name the folder of the images "
            "(--images)."
        )
    return reading.image_size(path)


def _drawn(entry: object, *, size: Size) -> tuple[_Shape, npt.NDArray[np.bool_]]:
    shape = msgspec.convert(entry, _Shape)
    draw = _DRAWERS.get(shape.shape_type or "polygon")
    if draw is None:
        raise UndrawableError(f"shapes of type {shape.shape_type!r:.40}, which have no inside")
    return shape, reading.required(draw(shape, size))


def _from_polygon(shape: _Shape, size: Size) -> npt.NDArray[np.bool_]:
    points = reading.checked_ring([value for point in shape.points for value in point], size)
    picture = Image.new("L", (size[1], size[0]))
    ImageDraw.Draw(picture).polygon([(x, y) for x, y in points.tolist()], outline=1, fill=1)
    return np.asarray(picture) > 0


def _from_rectangle(shape: _Shape, size: Size) -> npt.NDArray[np.bool_]:
    if len(shape.points) == 4:  # X-AnyLabeling writes all corners
        return _from_polygon(shape, size)
    (x0, y0), (x1, y1) = _two_points(shape, size)
    picture = Image.new("L", (size[1], size[0]))
    box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    ImageDraw.Draw(picture).rectangle(box, outline=1, fill=1)
    return np.asarray(picture) > 0


def _from_circle(shape: _Shape, size: Size) -> npt.NDArray[np.bool_]:
    (x, y), edge = _two_points(shape, size)
    radius = float(np.hypot(x - edge[0], y - edge[1]))
    picture = Image.new("L", (size[1], size[0]))
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(picture).ellipse(box, outline=1, fill=1)
    return np.asarray(picture) > 0


def _from_mask(shape: _Shape, size: Size) -> npt.NDArray[np.bool_]:
    (left, top), _ = _two_points(shape, size)
    try:
        cut = load_image(base64.b64decode(shape.mask or "", validate=True))[:, :, 0] > 0
    except (binascii.Error, ValueError) as error:
        raise UndrawableError("a mask that is no picture") from error
    whole = np.zeros(size, np.bool_)
    x, y = int(left), int(top)
    if x < 0 or y < 0:
        raise UndrawableError("a mask outside of its image")
    target = whole[y : y + cut.shape[0], x : x + cut.shape[1]]
    target |= cut[: target.shape[0], : target.shape[1]]
    return whole


def _two_points(shape: _Shape, size: Size) -> tuple[tuple[float, float], tuple[float, float]]:
    if len(shape.points) != 2:
        raise UndrawableError(f"a {shape.shape_type} of other than two points")
    reading.checked_ring([*shape.points[0], *shape.points[1], *shape.points[0]], size)
    return shape.points[0], shape.points[1]


_DRAWERS: Mapping[str, Any] = {
    "polygon": _from_polygon,
    "rectangle": _from_rectangle,
    "circle": _from_circle,
    "mask": _from_mask,
    "oriented_rectangle": _from_polygon,
    "rotation": _from_polygon,  # X-AnyLabeling's name for it
}

FORMAT = _LabelMe()
