"""Folders in COCO format: ``images/`` and ``instances.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle_codec

from samedge.distill.scenes import Scene, header_size, read_rgb
from samedge.errors import DatasetError
from samedge.types import Array, Size

Annotation = dict[str, Any]


def decode_segmentation(segmentation: Any, size: Size) -> Array:
    """Decode one COCO segmentation.

    Args:
        segmentation: polygons ``[[x0, y0, x1, y1, ...], ...]``, uncompressed RLE
            ``{"size", "counts": [...]}`` or compressed RLE ``{"size", "counts": str}``.
        size: the image's height and width, px.

    Returns:
        (H, W) uint8, 0 and 1.

    Raises:
        ValueError: none of the three, or an RLE of another size.
    """
    height, width = size
    if isinstance(segmentation, list):
        _check_polygons(segmentation)
        encoded = rle_codec.merge(rle_codec.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation, dict) and {"size", "counts"} <= segmentation.keys():
        if list(segmentation["size"]) != [height, width]:
            found = segmentation["size"]
            raise ValueError(f"its RLE has size {found}, the image {[height, width]}")
        encoded = segmentation
        if isinstance(encoded["counts"], list):
            _check_counts(encoded["counts"], height * width)
            encoded = rle_codec.frPyObjects(encoded, height, width)
    else:
        raise ValueError("its segmentation is neither polygons nor RLE")
    return np.ascontiguousarray(rle_codec.decode(encoded))


def _check_polygons(polygons: list[Any]) -> None:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon needs an even number of at least six coordinates")
    if not polygons:
        raise ValueError("its segmentation has no polygon")


def _check_counts(counts: list[Any], pixels: int) -> None:
    if sum(counts) != pixels or min(counts, default=0) < 0:
        raise ValueError(f"its RLE covers {sum(counts)} pixels, the image has {pixels}")


class CocoFolder:
    """Photos with masks in COCO format; crowd regions are skipped, and images without a mask.

    Args:
        root: a folder with ``images/`` and ``instances.json``.
        annotations: another annotation file than ``root/instances.json``.
        images: another folder of pictures than ``root/images``.

    Raises:
        DatasetError: a missing or malformed file; names the file and the annotation.
    """

    def __init__(
        self, root: Path, *, annotations: Path | None = None, images: Path | None = None
    ) -> None:
        self.root = Path(root)
        self.annotations = annotations or self.root / "instances.json"
        self.images = images or self.root / "images"
        document = self._load()
        masks = self._masks_by_image(document)
        self._records = [r for r in document["images"] if masks.get(r.get("id"))]
        self._masks = [masks[r["id"]] for r in self._records]
        self._check_records()

    def _load(self) -> dict[str, Any]:
        try:
            document = json.loads(self.annotations.read_text(encoding="utf-8"))
        except OSError as error:
            raise DatasetError(
                f"{self.annotations} cannot be read ({error.strerror}): expected COCO annotations."
            ) from error
        except ValueError as error:
            raise DatasetError(f"{self.annotations} is not JSON ({error}).") from error
        missing = [k for k in ("images", "annotations") if k not in document]
        if missing:
            raise DatasetError(f"{self.annotations} has no {missing[0]!r}: not COCO's format.")
        return dict(document)

    def _masks_by_image(self, document: dict[str, Any]) -> dict[Any, list[Annotation]]:
        known = {record.get("id") for record in document["images"]}
        masks: dict[Any, list[Annotation]] = {}
        for annotation in document["annotations"]:
            if annotation.get("iscrowd"):
                continue
            if annotation.get("image_id") not in known:
                raise self._error(annotation, f"names no image ({annotation.get('image_id')!r})")
            box = annotation.get("bbox")
            if not isinstance(box, list) or len(box) != 4:
                raise self._error(annotation, f"has bbox {box!r}, expected [x, y, width, height]")
            masks.setdefault(annotation["image_id"], []).append(annotation)
        return masks

    def _check_records(self) -> None:
        if not self._records:
            raise DatasetError(f"{self.annotations} has no image with a mask.")
        for record in self._records:
            absent = [k for k in ("file_name", "height", "width") if k not in record]
            if absent:
                raise DatasetError(
                    f"{self.annotations}: image {record['id']} has no {absent[0]!r}."
                )

    def _error(self, annotation: Annotation, problem: str) -> DatasetError:
        return DatasetError(f"{self.annotations}: annotation {annotation.get('id')} {problem}.")

    def __len__(self) -> int:
        return len(self._records)

    @property
    def mask_count(self) -> int:
        """Number of masks in all."""
        return sum(map(len, self._masks))

    def masks_of(self, index: int) -> int:
        """Number of masks of photo ``index``."""
        return len(self._masks[index])

    def path(self, index: int) -> Path:
        """The picture's file."""
        return self.images / str(self._records[index]["file_name"])

    def scene(self, index: int, _rng: np.random.Generator, /) -> Scene:
        """Photo ``index`` with its masks.

        Raises:
            DatasetError: the picture is missing or not of the annotated size.
        """
        record, annotations, path = self._records[index], self._masks[index], self.path(index)
        size = (int(record["height"]), int(record["width"]))
        found = header_size(path)
        if found != size:
            raise DatasetError(
                f"{path} is {found[0]}x{found[1]} (height x width), but {self.annotations} says "
                f"{size[0]}x{size[1]} for image {record['id']}: restore the annotated picture."
            )

        def read_mask(number: int) -> Array:
            try:
                return decode_segmentation(annotations[number].get("segmentation"), size)
            except (ValueError, TypeError) as error:
                raise self._error(annotations[number], f"cannot be decoded: {error}") from error

        return Scene(
            size=size,
            boxes=np.array([a["bbox"] for a in annotations], np.float32),
            read_image=lambda scale: read_rgb(path, scale=scale),
            read_mask=read_mask,
        )
