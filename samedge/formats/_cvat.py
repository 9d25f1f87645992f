"""CVAT for images 1.1: one XML file, each mask as run lengths inside of its box."""

from __future__ import annotations

import functools
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from samedge.errors import DatasetError
from samedge.formats import reading
from samedge.formats.base import Entry, Format, Layout, Writer
from samedge.formats.documents import GrowingFile
from samedge.formats.masks import DEFAULT_CATEGORY, ImageMasks, MaskRecord, record_from_mask
from samedge.formats.xml_files import attributes_text, clean_text, elements, number
from samedge.pixels.segmentations import UndrawableError
from samedge.types import Array, Size

_SPOOLED_BYTES = 16 << 20
_COPIED_CHARACTERS = 1 << 20


class _Cvat(Format):
    summary = "CVAT for images 1.1, XML"
    layout = Layout.ONE_FILE
    endings = (".xml",)
    whole = ("annotations.xml",)
    chosen_by = (".xml",)
    keeps = frozenset(
        {"holes", "parts", "overlaps", "categories", "empty_images", "folders", "endings"}
    )

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        return _CvatWriter(path / self.whole[0] if is_folder else path)

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        has_images = False
        for place, element in enumerate(elements(path, "image")):
            has_images = True
            where = f"{path}: image {place}"
            read = functools.partial(_image, element, images, left_out, where=where)
            yield Entry(where, read)
        if not has_images and next(elements(path, "track"), None) is not None:
            raise DatasetError(
                f"{path} holds the tracks of a video: export the task from CVAT once more, as "
                "'CVAT for images 1.1'."
            )

    def recognises(self, path: Path) -> bool:
        start = reading.head(path)
        return path.suffix.lower() == ".xml" and b"<annotations" in start


class _CvatWriter(Writer):
    """The images are spooled, since the names of the labels stand before them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = GrowingFile(path)
        self._body: IO[str] | None = None
        self._labels: dict[str, None] = {}

    def _add(self, image: ImageMasks) -> list[Path]:
        height, width = image.size
        if "\\" in image.name:
            self.changed["names whose backslash programs take for a folder"] += 1
        head = attributes_text(id=self.added, name=image.name, width=width, height=height)
        drawn = [record for record in image.masks if record.area]
        masks = "".join(map(_mask_element, drawn))
        if self._body is None:
            self._body = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed with the writer
                max_size=_SPOOLED_BYTES, mode="w+", encoding="utf-8"
            )
        self._body.write(f"  <image {head}>\n{masks}  </image>\n")
        self._labels |= dict.fromkeys(record.category_name for record in drawn)
        self.left_out["empty masks"] += len(image.masks) - len(drawn)
        return []

    def close(self) -> list[Path]:
        """Write labels and images, and put the file in its place."""
        if self._body is None:
            return []
        body, self._body = self._body, None
        labels = "".join(
            f"<label><name>{escape(clean_text(name))}</name></label>"
            for name in self._labels or [DEFAULT_CATEGORY]
        )
        self._file.write(
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
            f"  <meta><task><labels>{labels}</labels></task></meta>\n"
        )
        with body:
            body.seek(0)
            while text := body.read(_COPIED_CHARACTERS):
                self._file.write(text)
        self._file.write("</annotations>\n")
        return self._file.commit()


def _mask_element(record: MaskRecord) -> str:
    assert record.bbox is not None  # empty masks were left out
    x, y, width, height = record.bbox
    cut = record.mask[y : y + height, x : x + width].ravel()
    edges = np.flatnonzero(cut[1:] != cut[:-1]) + 1
    runs = np.diff(np.concatenate([[0], edges, [cut.size]])).tolist()
    if cut[0]:
        runs.insert(0, 0)
    attributes = attributes_text(
        label=record.category_name,
        source="auto",
        occluded=0,
        rle=", ".join(map(str, runs)),
        left=x,
        top=y,
        width=width,
        height=height,
        z_order=0,
    )
    return f"    <mask {attributes}></mask>\n"


def _image(
    element: ET.Element, images: Path | None, left_out: Counter[str], *, where: str
) -> ImageMasks:
    size = _size(element, where=where)
    read = functools.partial(_record, size=size)
    shapes = [shape for shape in element if shape.tag not in ("tag", "attribute")]
    found = [reading.usable(read, shape, left_out=left_out) for shape in shapes]
    name = reading.image_name(element.get("name") or "", images)
    return ImageMasks(name, size, tuple(filter(None, found)))


def _size(element: ET.Element, *, where: str) -> Size:
    try:
        height, width = (int(number(element, side)) for side in ("height", "width"))
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from error
    return reading.checked_size(height, width, where=where)


def _record(shape: ET.Element, *, size: Size) -> MaskRecord:
    draw = _DRAWERS.get(shape.tag)
    if draw is None:
        raise UndrawableError(f"shapes of type {shape.tag!r:.40}, which have no inside")
    mask = reading.required(draw(shape, size))
    return record_from_mask(mask, category=shape.get("label") or DEFAULT_CATEGORY)


def _from_mask(shape: ET.Element, size: Size) -> npt.NDArray[np.bool_]:
    x, y, width, height = (int(number(shape, n)) for n in ("left", "top", "width", "height"))
    try:
        runs = np.array([int(run) for run in (shape.get("rle") or "").split(",")], np.int64)
    except (ValueError, OverflowError) as error:
        raise UndrawableError("run lengths that are no numbers") from error
    inside = x >= 0 and y >= 0 and width > 0 and height > 0
    if not inside or x + width > size[1] or y + height > size[0]:
        raise UndrawableError("a mask outside of its image")
    if (runs < 0).any() or (runs > width * height).any() or runs.sum() != width * height:
        raise UndrawableError("run lengths that do not fill their box")
    whole = np.zeros(size, np.bool_)
    cut = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    whole[y : y + height, x : x + width] = cut
    return whole


def _from_points(shape: ET.Element, size: Size) -> npt.NDArray[np.bool_]:
    try:
        ring = [
            float(value)
            for pair in (shape.get("points") or "").split(";")
            for value in pair.split(",")
        ]
    except ValueError as error:
        raise UndrawableError("coordinates that are no pairs of numbers") from error
    return reading.mask_from_rings([ring], size)


def _from_box(shape: ET.Element, size: Size) -> npt.NDArray[np.bool_]:
    x0, y0, x1, y1 = (number(shape, n) for n in ("xtl", "ytl", "xbr", "ybr"))
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return reading.mask_from_rings([_turned(corners, shape)], size)


def _from_ellipse(shape: ET.Element, size: Size) -> npt.NDArray[np.bool_]:
    center_x, center_y, radius_x, radius_y = (number(shape, n) for n in ("cx", "cy", "rx", "ry"))
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    ring = np.stack(
        [center_x + radius_x * np.cos(angles), center_y + radius_y * np.sin(angles)], axis=1
    )
    return reading.mask_from_rings([_turned(ring, shape)], size)


def _turned(ring: Array, shape: ET.Element) -> Array:
    """A ring turned by the shape's ``rotation``, in degrees clockwise around its middle."""
    if shape.get("rotation") is None:
        return ring
    angle = np.deg2rad(number(shape, "rotation"))
    middle = (ring.min(axis=0) + ring.max(axis=0)) / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray((ring - middle) @ turn + middle)


_DRAWERS: Mapping[str, Any] = {
    "mask": _from_mask,
    "polygon": _from_points,
    "box": _from_box,
    "ellipse": _from_ellipse,
}

FORMAT = _Cvat()
