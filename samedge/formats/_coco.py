"""COCO instances with run-length masks: exact, and read by pycocotools and most programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from samedge.formats import reading
from samedge.formats.base import PROPERTIES, Format, Layout, Writer
from samedge.formats.coco_files import CocoWriter, Shape, read_coco
from samedge.formats.masks import ImageMasks, MaskRecord


class _Coco(Format):
    summary = "COCO instances, run-length masks"
    layout = Layout.ONE_FILE
    endings = (".json",)
    chosen_by = (".json",)
    keeps = frozenset(PROPERTIES) - {"prompts"}

    def open_writer(self, path: Path, *, is_folder: bool) -> Writer:
        return CocoWriter(path / "masks.json" if is_folder else path, _runs)

    def read(
        self,
        path: Path,
        *,
        images: Path | None = None,
        left_out: Counter[str],
    ) -> Iterator[ImageMasks]:
        yield from read_coco(path, left_out)

    def recognises(self, path: Path) -> bool:
        start = reading.head(path)
        named = b'"images"' in start or (b'"annotations"' in start and b'"image_id"' in start)
        foreign = (b'"segments_info"', b'"image":', b'"image" :')  # panoptic, SA-1B
        return reading.has_keys(path) and named and not any(key in start for key in foreign)


def _runs(record: MaskRecord) -> Shape:
    return {"size": record.rle["size"], "counts": record.rle["counts"]}


FORMAT = _Coco()
