"""GeoJSON outlines, one file an image: multipolygons in pixels, as QuPath and GIS programs read.

The y axis points down, as in the image. A member ``image`` beside the features says whose they are.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from samedge.errors import DatasetError
from samedge.files.json_text import json_text
from samedge.files.writing import write_text
from samedge.formats import reading
from samedge.formats.base import Entry, ImageFormat, Writer
from samedge.formats.masks import (
    DEFAULT_CATEGORY,
    ImageMasks,
    MaskRecord,
    fits_window,
    record_from_mask,
)
from samedge.pixels.outlines import Ring, outlines
from samedge.pixels.polygons import fill
from samedge.pixels.segmentations import UndrawableError
from samedge.types import Array, Size


class _Geometry(msgspec.Struct):
    type: str
    coordinates: Any = None
    geometries: list[_Geometry] = []


class _Feature(msgspec.Struct):
    geometry: _Geometry | None
    properties: dict[str, object] | None = None


class _Image(msgspec.Struct):
    file_name: str
    height: int
    width: int


class _Collection(msgspec.Struct):
    features: list[Any]
    image: _Image | None = None


class _GeoJson(ImageFormat):
    summary = "GeoJSON outlines in pixels, one file an image"
    endings = (".geojson", ".json")
    chosen_by = (".geojson",)
    holds_no_mask = True
    keeps = frozenset(
        {"holes", "parts", "overlaps", "categories", "predicted_iou", "stability"}
        | {"empty_images", "folders", "endings"}
    )

    def write_image(self, path: Path, image: ImageMasks, *, writer: Writer) -> list[Path]:
        height, width = image.size
        drawn = [record for record in image.masks if record.area]
        outlined = [record for record in drawn if fits_window(record)]
        document = {
            "type": "FeatureCollection",
            "image": {"file_name": image.name, "height": height, "width": width},
            "features": [_feature(record) for record in outlined],
        }
        writer.left_out["empty masks"] += len(image.masks) - len(drawn)
        writer.left_out["masks larger than a picture may be"] += len(drawn) - len(outlined)
        return [write_text(path, json_text(document) + "\n")]

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        root = path if path.is_dir() else path.parent
        for file in sorted(path.rglob("*.geojson")) if path.is_dir() else [path]:
            name = file.relative_to(root)
            yield Entry(str(file), functools.partial(_image, file, name, images, left_out))

    def recognises(self, path: Path) -> bool:
        return b'"FeatureCollection"' in reading.head(path)


def _feature(record: MaskRecord) -> dict[str, object]:
    window, corner = record.window()
    polygons = [[_closed(ring + corner) for ring in part.simple()] for part in outlines(window)]
    properties: dict[str, object] = {
        "category": record.category_name,
        "classification": {"name": record.category_name},  # where QuPath looks
        "predicted_iou": record.predicted_iou,
        "stability_score": record.stability_score,
    }
    return {
        "type": "Feature",
        "geometry": {"type": "MultiPolygon", "coordinates": polygons},
        "properties": properties,
    }


def _closed(ring: Ring) -> list[list[int]]:
    points: list[list[int]] = ring.tolist()
    return [*points, points[0]]


def _image(file: Path, name: Path, images: Path | None, left_out: Counter[str]) -> ImageMasks:
    document = reading.read_json(file)
    if isinstance(document, list):  # as QuPath writes it
        document = {"features": document}
    elif isinstance(document, dict) and document.get("type") == "Feature":
        document = {"features": [document]}
    found = reading.converted(document, _Collection, where=str(file))
    if found.image is not None:
        title = reading.image_name(found.image.file_name, images, file=file)
        size = reading.checked_size(found.image.height, found.image.width, where=f"{file}: image")
    else:
        path = reading.find_image(name.with_suffix("").as_posix(), [images] if images else [])
        if path is None:
            raise DatasetError(
                f"{file} does not say how large its image is: name the folder of the images "
                "(--images), where one of the same name is."
            )
        title, size = reading.found_name(name.as_posix(), path), reading.image_size(path)
    read = functools.partial(_record, size=size)
    records = [reading.usable(read, entry, left_out=left_out) for entry in found.features]
    return ImageMasks(title, size, tuple(filter(None, records)))


def _record(entry: object, *, size: Size) -> MaskRecord:
    feature = msgspec.convert(entry, _Feature)
    mask = np.zeros(size, np.bool_)
    for polygon in _polygons(feature.geometry):
        mask |= fill(_rings(polygon, size), size)
    about = feature.properties or {}
    return record_from_mask(
        reading.required(mask),
        predicted_iou=reading.float_or_none(about.get("predicted_iou")),
        stability_score=reading.float_or_none(about.get("stability_score")),
        category=_category(about),
    )


def _polygons(geometry: _Geometry | None) -> list[Any]:
    """The polygons of a geometry, and of those that it collects."""
    kind = "none" if geometry is None else geometry.type
    if geometry is not None and kind == "GeometryCollection":
        return [p for member in geometry.geometries for p in _polygons(member)]
    polygons = None if geometry is None else geometry.coordinates
    if kind not in ("Polygon", "MultiPolygon") or not isinstance(polygons, list):
        raise UndrawableError(f"geometries of type {kind!r:.40}, which have no inside")
    return [polygons] if kind == "Polygon" else polygons


def _rings(polygon: Any, size: Size) -> list[Array]:
    if not isinstance(polygon, list):
        raise UndrawableError("coordinates that are no pairs of numbers")
    return [reading.checked_ring(_flat(ring), size) for ring in polygon]


def _flat(ring: Any) -> Any:
    """A ring without heights, which GIS programs put behind x and y."""
    if not isinstance(ring, list) or not all(isinstance(p, list) and len(p) > 2 for p in ring):
        return ring
    return [point[:2] for point in ring]


def _category(about: Mapping[str, object]) -> str:
    nested = about.get("classification")
    named = nested.get("name") if isinstance(nested, dict) else nested
    name = about.get("category") or named or DEFAULT_CATEGORY
    return name if isinstance(name, str) else DEFAULT_CATEGORY


FORMAT = _GeoJson()
