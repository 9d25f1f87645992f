"""Ground truth in COCO's format: instances and their exact masks in the original image's frame.

Reading and rasterising is pycocotools' work. An image's frame is that of its stored pixels, as in
COCO: an orientation in EXIF is not applied.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from samedge.errors import BackendUnavailableError, DatasetError
from samedge.pixels import metrics
from samedge.pixels.images import load_image
from samedge.pixels.rle import rle_from_mask
from samedge.types import Array

_EXIF_ORIENTATION = 0x0112


@dataclasses.dataclass(frozen=True, eq=False)
class Instance:
    """One object of an image.

    Attributes:
        annotation_id: its id in the file.
        area: in square pixels, as the file says, else the mask's own.
        box: ``(x0, y0, x1, y1)`` pixels, as the file says, else the mask's own.
        mask: (H, W) bool.
    """

    annotation_id: int
    area: float
    box: tuple[float, float, float, float]
    mask: npt.NDArray[np.bool_]

    @functools.cached_property
    def boundary(self) -> npt.NDArray[np.bool_]:
        """The mask's boundary band."""
        return metrics.boundary(self.mask)

    @functools.cached_property
    def center(self) -> tuple[int, int]:
        """The first click: the mask's center point."""
        center = metrics.center_point(self.mask)
        assert center is not None  # empty masks were left out
        return center


class TruthImage:
    """One image and its annotations; pixels and masks are read when asked for."""

    def __init__(self, coco: Any, record: dict[str, Any], path: Path, source: Path) -> None:
        self.name: str = record["file_name"]
        self.path = path
        self.size = int(record["height"]), int(record["width"])
        self._coco, self._source = coco, source
        self.annotations: list[dict[str, Any]] = [
            a for a in coco.imgToAnns[record["id"]] if not a.get("iscrowd")
        ]

    def pixels(self) -> Array:
        """The image, (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: the file is missing, or of another size than the annotations say.
        """
        if not self.path.is_file():
            raise DatasetError(
                f"{self._source} names image {self.name!r}, but there is no {self.path}: give the "
                "folder that holds it with --images."
            )
        with Image.open(self.path) as picture:
            picture.getexif().pop(_EXIF_ORIENTATION, None)
            image = load_image(picture)
        if image.shape[:2] != self.size:
            raise DatasetError(
                f"{self.path} is {image.shape[0]} x {image.shape[1]} (height x width), but "
                f"{self._source} says {self.size[0]} x {self.size[1]}: the masks would not fit it."
            )
        return image

    def instances(self) -> Iterator[Instance]:
        """The image's objects in the order of the file, one mask in memory at a time."""
        for annotation in self.annotations:
            yield self._instance(annotation)

    def rle(self, annotation_id: int) -> dict[str, Any]:
        """One object's mask as compressed run lengths."""
        mask = self._coco.annToMask(self._coco.anns[annotation_id])
        return rle_from_mask(mask.astype(np.bool_))

    def _instance(self, annotation: dict[str, Any]) -> Instance:
        mask = self._coco.annToMask(annotation).astype(np.bool_)
        if mask.shape != self.size:
            raise DatasetError(
                f"{self._source}: annotation {annotation['id']} is a mask of {mask.shape}, but "
                f"image {self.name!r} is {self.size}."
            )
        return Instance(
            annotation_id=int(annotation["id"]),
            area=float(annotation.get("area") or np.count_nonzero(mask)),
            box=_box(annotation.get("bbox"), mask),
            mask=mask,
        )


def _box(
    bbox: list[float] | None, mask: npt.NDArray[np.bool_]
) -> tuple[float, float, float, float]:
    if bbox is not None and len(bbox) == 4 and min(bbox[2:]) > 0:
        x, y, width, height = (float(value) for value in bbox)
        return x, y, x + width, y + height
    x0, y0, x1, y1 = metrics.bounding_box(mask) or (0, 0, 1, 1)
    return float(x0), float(y0), float(x1), float(y1)


@dataclasses.dataclass(frozen=True, eq=False)
class GroundTruth:
    """An opened dataset.

    Attributes:
        path: the annotation file.
        images_dir: the folder of the images.
        images: those with at least one instance, in the order of the file.
        skipped: annotations that are left out, by reason.
    """

    path: Path
    images_dir: Path
    images: list[TruthImage]
    skipped: dict[str, int]

    @property
    def instance_count(self) -> int:
        """Instances in all images."""
        return sum(len(image.annotations) for image in self.images)


def load_ground_truth(path: Path, images_dir: Path, *, limit: int | None = None) -> GroundTruth:
    """Open COCO-format annotations. Crowds and instances without a pixel are left out and counted.

    Args:
        path: the JSON file.
        images_dir: folder that the file names are relative to.
        limit: take the first so many images with instances; ``None`` takes all.

    Raises:
        DatasetError: missing or malformed file; it names the file and the annotation.
        BackendUnavailableError: pycocotools is not installed.
    """
    coco = _open_coco(path)
    skipped: Counter[str] = Counter()
    images = []
    for record in coco.dataset["images"]:
        image = TruthImage(coco, record, images_dir / record["file_name"], path)
        skipped["iscrowd"] += len(coco.imgToAnns[record["id"]]) - len(image.annotations)
        drawn = [a for a in image.annotations if _has_pixels(coco, a, path)]
        skipped["empty"] += len(image.annotations) - len(drawn)
        image.annotations = drawn
        if drawn:
            images.append(image)
        if limit is not None and len(images) >= limit:
            break
    if not images:
        raise DatasetError(f"{path} has no instance to measure on: expected `annotations`.")
    return GroundTruth(path, images_dir, images, {k: n for k, n in skipped.items() if n})


def _has_pixels(coco: Any, annotation: dict[str, Any], path: Path) -> bool:
    from pycocotools import mask as coco_masks

    try:
        return bool(coco_masks.area(coco.annToRLE(annotation)) > 0)
    except Exception as error:  # pycocotools raises whatever it stumbles over
        raise DatasetError(
            f"{path}: annotation {annotation.get('id')!r} has a segmentation that cannot be drawn "
            f"({type(error).__name__}: {error}): expected polygons or run lengths."
        ) from error


def _open_coco(path: Path) -> Any:
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise BackendUnavailableError(
            "pycocotools, which reads the ground truth, is not installed: "
            'pip install "samedge[eval]"'
        ) from error
    coco = COCO()
    coco.dataset = _checked_document(path)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco.createIndex()
    return coco


def _checked_document(path: Path) -> dict[str, Any]:
    try:
        document: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DatasetError(f"There is no annotation file {path}.") from error
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}.") from error
    for key in ("images", "annotations"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise DatasetError(f"{path} has no list {key!r}: expected COCO's instance format.")
    known = set()
    content: dict[str, Any] = document
    for image in content["images"]:
        _require(image, ("id", "file_name", "height", "width"), f"{path}: an image")
        known.add(image["id"])
    for annotation in content["annotations"]:
        _require(annotation, ("id", "image_id", "segmentation"), f"{path}: an annotation")
        if annotation["image_id"] not in known:
            raise DatasetError(
                f"{path}: annotation {annotation['id']} belongs to image "
                f"{annotation['image_id']}, which is not in `images`."
            )
    return content


def _require(entry: Any, keys: tuple[str, ...], what: str) -> None:
    missing = [k for k in keys if not isinstance(entry, dict) or k not in entry]
    if missing:
        name = entry.get("id") if isinstance(entry, dict) else entry
        raise DatasetError(f"{what} (id {name!r}) lacks {', '.join(map(repr, missing))}.")
