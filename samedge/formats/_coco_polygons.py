"""COCO instances with polygons, for programs that read no run lengths.

Vertices are corners of pixels, so that COCO's own tools draw the very mask. A hole is led into and
out of along one line; programs that draw lines as well lose those pixels of the hole.
"""

from __future__ import annotations

from samedge.formats.coco_files import CocoFormat, Shape
from samedge.formats.masks import MaskRecord
from samedge.pixels.outlines import outlines


class _CocoPolygons(CocoFormat):
    summary = "COCO instances, polygons"

    def shape(self, record: MaskRecord) -> Shape:
        return [part.keyhole.ravel().tolist() for part in outlines(record.mask)]


FORMAT = _CocoPolygons()
