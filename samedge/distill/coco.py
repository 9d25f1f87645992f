"""Folders in COCO format: ``images/`` and ``instances.json``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samedge.distill.scenes import Scene, header_size, read_rgb
from samedge.errors import DatasetError
from samedge.formats.annotation_file import (
    CROWD,
    AnnotatedImage,
    Annotation,
    AnnotationFile,
    LeftOut,
    read_annotations,
)
from samedge.pixels import metrics
from samedge.pixels.orientation import UPRIGHT
from samedge.pixels.segmentations import (
    UndrawableError,
    check_segmentation,
    mask_from_segmentation,
)
from samedge.types import Array

Box = tuple[float, float, float, float]


class CocoFolder:
    """Photos with masks in COCO format.

    Crowd regions are skipped, and images without a mask. Annotations that cannot be drawn are left
    out and counted in the log.

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
        self._images: list[AnnotatedImage] = []
        self._masks: list[list[tuple[Annotation, Box]]] = []
        self._collect(read_annotations(self.annotations))

    def _collect(self, file: AnnotationFile) -> None:
        left_out = LeftOut()
        for image, found in file:
            boxed = [(a, _box(a, image, left_out)) for a in found]
            masks = [(a, box) for a, box in boxed if box is not None]
            if masks:
                self._images.append(image)
                self._masks.append(masks)
        left_out.say(self.annotations)
        if not self._images:
            reason = f": it has {left_out}" if left_out.counts else ""
            raise DatasetError(f"{self.annotations} has no image with a mask{reason}.")

    def __len__(self) -> int:
        return len(self._images)

    def masks_of(self, index: int) -> int:
        """Number of masks of photo ``index``."""
        return len(self._masks[index])

    def path(self, index: int) -> Path:
        """The picture's file."""
        return self._images[index].path_in(self.images)

    def scene(self, index: int, _rng: np.random.Generator, /) -> Scene:
        """Photo ``index`` with its masks.

        Raises:
            DatasetError: the picture is missing or not of the annotated size.
        """
        image, masks, path = self._images[index], self._masks[index], self.path(index)
        size = image.size
        upright = is_upright(image, path)
        found = header_size(path, upright=upright)
        if found != size:
            raise DatasetError(
                f"{path} is {found[0]}x{found[1]} (height x width), but {self.annotations} says "
                f"{size[0]}x{size[1]} for image {image.id}: restore the annotated picture."
            )

        def read_mask(number: int) -> Array:
            annotation, _ = masks[number]
            try:
                return mask_from_segmentation(annotation.segmentation, size).astype(np.uint8)
            except UndrawableError as error:  # run lengths, which are read when they are needed
                raise DatasetError(
                    f"{self.annotations}: annotation {annotation.id} cannot be drawn: "
                    f"{error.reason}."
                ) from error

        return Scene(
            size=size,
            boxes=np.array([box for _, box in masks], np.float32),
            read_image=lambda scale: read_rgb(path, scale=scale, upright=upright),
            read_mask=read_mask,
        )


def is_upright(image: AnnotatedImage, path: Path) -> bool:
    """Whether masks were drawn on the upright picture, by the rule of ``samedge eval``.

    Raises:
        DatasetError: the picture is missing.
    """
    if image.frame is not None:
        return image.frame == UPRIGHT
    return header_size(path, upright=True) == image.size


def _box(annotation: Annotation, image: AnnotatedImage, left_out: LeftOut) -> Box | None:
    """``(x, y, width, height)`` of an annotation that is trained on; ``None`` for the others."""
    try:
        if annotation.iscrowd:
            raise UndrawableError(CROWD)
        check_segmentation(annotation.segmentation, image.size)
        corners = annotation.corners
        return _own_box(annotation, image) if corners is None else _sides(corners)
    except UndrawableError as error:
        left_out.add(error.reason, annotation)
        return None


def _own_box(annotation: Annotation, image: AnnotatedImage) -> Box:
    mask = mask_from_segmentation(annotation.segmentation, image.size)
    corners = metrics.bounding_box(mask)
    if corners is None:
        raise UndrawableError("empty")
    return _sides(corners)


def _sides(corners: Box) -> Box:
    x0, y0, x1, y1 = corners
    return float(x0), float(y0), float(x1 - x0), float(y1 - y0)
