"""COCO instances with run-length masks: exact, and read by pycocotools and most programs."""

from __future__ import annotations

from pathlib import Path

from samedge.formats import reading
from samedge.formats.coco_files import CocoFormat, Shape
from samedge.formats.masks import MaskRecord


class _Coco(CocoFormat):
    summary = "COCO instances, run-length masks"
    chosen_by = (".json",)
    holds_no_mask = True

    def shape(self, record: MaskRecord) -> Shape:
        return {"size": record.rle["size"], "counts": record.rle["counts"]}

    def recognises(self, path: Path) -> bool:
        start = reading.head(path)
        named = b'"images"' in start or (b'"annotations"' in start and b'"image_id"' in start)
        foreign = (b'"segments_info"', b'"image":', b'"image" :')  # panoptic, SA-1B
        return reading.has_keys(path) and named and not any(key in start for key in foreign)


FORMAT = _Coco()
