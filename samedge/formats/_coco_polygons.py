"""COCO instances with polygons, for programs that read no run lengths.

Vertices are corners of pixels, so that COCO's own tools draw the very mask. A hole is led into and
out of along one line; programs that draw lines as well lose those pixels of the hole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from samedge.formats.base import PROPERTIES, Format, Layout, Writer
from samedge.formats.coco_files import CocoWriter, Shape, read_coco
from samedge.formats.masks import ImageMasks, MaskRecord
from samedge.pixels.outlines import outlines


class _CocoPolygons(Format):
    summary = "COCO instances, polygons"
    layout = Layout.ONE_FILE
    endings = (".json",)
    keeps = frozenset(PROPERTIES) - {"prompts"}

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        return CocoWriter(path / "masks.json" if is_folder else path, _polygons)

    def read(
        self,
        path: Path,
        *,
        images: Path | None = None,
        left_out: Counter[str],
    ) -> Iterator[ImageMasks]:
        yield from read_coco(path, left_out)


def _polygons(record: MaskRecord) -> Shape:
    return [part.keyhole.ravel().tolist() for part in outlines(record.mask)]


FORMAT = _CocoPolygons()
