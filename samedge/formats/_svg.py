"""SVG: one drawing an image, each mask a path along its pixels' edges, holes included."""

from __future__ import annotations

import functools
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from samedge.errors import DatasetError
from samedge.files.writing import write_text
from samedge.formats import reading
from samedge.formats.base import Entry, ImageFormat, Writer
from samedge.formats.masks import DEFAULT_CATEGORY, ImageMasks, MaskRecord, record_from_mask
from samedge.formats.xml_files import attributes_text, clean_text, elements, number
from samedge.pixels.outlines import outlines
from samedge.pixels.overlay import PALETTE
from samedge.pixels.polygons import fill
from samedge.pixels.segmentations import UndrawableError
from samedge.types import Array, Size

_TOKENS = re.compile(r"([MmLlHhVvZz])|([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|([^\s,])")


class _Svg(ImageFormat):
    summary = "SVG outlines, one drawing an image"
    endings = (".svg",)
    chosen_by = (".svg",)
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

    def write_image(self, path: Path, image: ImageMasks, *, writer: Writer) -> list[Path]:
        height, width = image.size
        drawn = [record for record in image.masks if record.area]
        size = attributes_text(width=width, height=height, viewBox=f"0 0 {width} {height}")
        paths = [_path(record, place) for place, record in enumerate(drawn)]
        text = (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n'
            f"<title>{escape(clean_text(image.name))}</title>\n{''.join(paths)}</svg>\n"
        )
        writer.left_out["empty masks"] += len(image.masks) - len(drawn)
        return [write_text(path, text)]

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        root = path if path.is_dir() else path.parent
        for file in sorted(path.rglob("*.svg")) if path.is_dir() else [path]:
            name = file.relative_to(root)
            yield Entry(str(file), functools.partial(_image, file, name, images, left_out))

    def recognises(self, path: Path) -> bool:
        return path.suffix.lower() == ".svg" and b"<svg" in reading.head(path)


def _path(record: MaskRecord, place: int) -> str:
    rings = [r for part in outlines(record.mask) for r in (part.outer, *part.holes)]
    data = "".join("M" + "L".join(f"{x} {y}" for x, y in ring.tolist()) + "Z" for ring in rings)
    red, green, blue = PALETTE[place % len(PALETTE)]
    score = {} if record.predicted_iou is None else {"data-score": record.predicted_iou}
    attributes = attributes_text(
        **{
            "fill": f"#{red:02x}{green:02x}{blue:02x}",
            "fill-opacity": "0.5",
            "fill-rule": "evenodd",
            "data-category": record.category_name,
            **score,
            "d": data,
        }
    )
    return f"<path {attributes}/>\n"


def _image(file: Path, name: Path, images: Path | None, left_out: Counter[str]) -> ImageMasks:
    svg = next(elements(file, "svg"), None)
    if svg is None:
        raise DatasetError(f"{file} holds no <svg>: name another file.")
    size = _size(file, svg)
    read = functools.partial(_record, size=size)
    grouped = any(e.get("transform") for e in svg.iter() if e.tag == "g")
    if grouped:
        raise DatasetError(f"{file} moves groups of shapes (transform): flatten it first.")
    shapes = [e for e in svg.iter() if e.tag in _SHAPES]
    found = [reading.usable(read, shape, left_out=left_out) for shape in shapes]
    title = reading.image_name(svg.findtext("title") or "", images, file=file)
    title = title or name.with_suffix(".png").as_posix()
    return ImageMasks(title, size, tuple(filter(None, found)))


_SHAPES = ("path", "polygon", "rect", "circle", "ellipse", "line", "polyline", "text", "image")


def _size(file: Path, svg: ET.Element) -> Size:
    box = (svg.get("viewBox") or "").replace(",", " ").split()
    try:
        x, y, width, height = (
            (float(v) for v in box)
            if box
            else (*(0.0, 0.0, number(svg, "width"), number(svg, "height")),)
        )
        whole = (x, y, width % 1, height % 1) == (0, 0, 0, 0)
    except (ValueError, OverflowError):
        whole = False
    if not whole:
        raise DatasetError(
            f"{file} has viewBox {svg.get('viewBox')!r}, expected 0 0 WIDTH HEIGHT in whole pixels "
            "of the image: set it so."
        )
    return reading.checked_size(int(height), int(width), where=f"{file}: svg")


def _record(shape: ET.Element, *, size: Size) -> MaskRecord:
    if shape.get("transform"):
        raise UndrawableError("shapes that are moved by a transform")
    if shape.tag == "path":
        rings = _rings(shape.get("d") or "")
    elif shape.tag == "polygon":
        values = re.split(r"[\s,]+", (shape.get("points") or "").strip())
        rings = [reading.checked_ring(values, size)]  # type: ignore[arg-type]  # text of numbers
    elif shape.tag == "rect":
        x, y = (number(shape, n) if shape.get(n) else 0.0 for n in ("x", "y"))
        right, bottom = x + number(shape, "width"), y + number(shape, "height")
        rings = [np.array([(x, y), (right, y), (right, bottom), (x, bottom)])]
    else:
        raise UndrawableError(f"<{shape.tag}>, which is no outline that can be read")
    mask = fill([reading.checked_ring(ring, size) for ring in rings], size)
    score = shape.get("data-score")
    return record_from_mask(
        reading.required(mask),
        predicted_iou=None if score is None else number(shape, "data-score"),
        category=shape.get("data-category") or shape.get("id") or DEFAULT_CATEGORY,
    )


def _rings(data: str) -> list[Array]:
    """Closed rings of a path of straight lines.

    Raises:
        UndrawableError: it has curves, or is damaged.
    """
    rings: list[list[tuple[float, float]]] = []
    command = ""
    pending: list[float] = []
    x = y = 0.0
    for letter, value, other in _TOKENS.findall(data):
        if other:
            raise UndrawableError("paths with curves")
        if letter:
            if letter in "Zz" and rings and rings[-1]:
                x, y = rings[-1][0]
            command, pending = letter, []
            continue
        pending.append(float(value))
        needed = 1 if command in "HhVv" else 2
        if not command or command in "Zz":
            raise UndrawableError("paths that are damaged")
        if len(pending) < needed:
            continue
        x, y = _moved(command, pending, x, y)
        if command in "Mm":
            rings.append([])
            command = "L" if command == "M" else "l"
        if not rings:
            raise UndrawableError("paths that are damaged")
        rings[-1].append((x, y))
        pending = []
    return [np.array(ring) for ring in rings if len(ring) > 2]


def _moved(command: str, values: list[float], x: float, y: float) -> tuple[float, float]:
    relative = command.islower()
    if command in "Hh":
        return (x + values[0] if relative else values[0]), y
    if command in "Vv":
        return x, (y + values[0] if relative else values[0])
    return (x + values[0], y + values[1]) if relative else (values[0], values[1])


FORMAT = _Svg()
