"""Ground truth in COCO's format: instances and their exact masks in the original image's frame.

Polygons are drawn by pycocotools. Which way up an image's masks are, its ``frame`` says, and where
the file has none their size: :mod:`samedge.pixels.orientation`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from samedge.errors import DatasetError
from samedge.formats.annotation_file import (
    CROWD,
    AnnotatedImage,
    Annotation,
    Corners,
    LeftOut,
    read_annotations,
)
from samedge.pixels import metrics
from samedge.pixels.folder_listing import SkippedFiles, pictures_listed
from samedge.pixels.orientation import load_in_frame
from samedge.pixels.rle import rle_from_mask
from samedge.pixels.sample_range import SampleRange
from samedge.pixels.segmentations import UndrawableError, mask_from_segmentation
from samedge.types import Array, Rle


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
    """One image and its annotations; pixels and masks are read when asked for.

    Attributes:
        name: the image's name in the file.
        path: the image's file.
        size: ``(height, width)`` of its masks.
        annotations: those that can be drawn.
    """

    def __init__(
        self,
        image: AnnotatedImage,
        annotations: list[Annotation],
        *,
        path: Path,
        source: Path,
        sample_range: SampleRange = "auto",
        crowds: Sequence[Annotation] = (),
    ) -> None:
        self._crowds = tuple(crowds)
        self.name, self.size, self.frame = image.file_name, image.size, image.frame
        self._range = sample_range
        self.path, self.annotations, self._source = path, annotations, source

    def pixels(self) -> Array:
        """The image, (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: the file is missing, or of another size than the annotations say.
        """
        self.check_file()
        image = load_in_frame(self.path, self.size, frame=self.frame, sample_range=self._range)
        if image.shape[:2] != self.size:
            raise DatasetError(
                f"{self.path} is {image.shape[0]} x {image.shape[1]} (height x width), but "
                f"{self._source} says {self.size[0]} x {self.size[1]}: the masks would not fit it."
            )
        return image

    def check_file(self) -> None:
        """Whether there is a file, asked before any work.

        Raises:
            DatasetError: there is none.
        """
        if not self.path.is_file():
            raise DatasetError(
                f"{self._source} names image {self.name!r}, but there is no {self.path}: give the "
                "folder that holds it with --images."
            )

    def instances(self) -> Iterator[Instance]:
        """The image's objects in the order of the file, one mask in memory at a time."""
        for annotation in self.annotations:
            yield _instance(annotation, mask_from_segmentation(annotation.segmentation, self.size))

    def crowds(self) -> Iterator[tuple[Annotation, npt.NDArray[np.bool_]]]:
        """Annotations of crowds, which are no instances, with their masks."""
        for annotation in self._crowds:
            with contextlib.suppress(UndrawableError):
                yield annotation, mask_from_segmentation(annotation.segmentation, self.size)

    def rle(self, annotation_id: int) -> Rle:
        """One object's mask as compressed run lengths."""
        chosen = next(a for a in self.annotations if a.id == annotation_id)
        return rle_from_mask(mask_from_segmentation(chosen.segmentation, self.size))


def _instance(annotation: Annotation, mask: npt.NDArray[np.bool_]) -> Instance:
    area = annotation.area
    known = area is not None and math.isfinite(area) and area > 0
    return Instance(
        annotation_id=annotation.id,
        area=float(area) if known and area is not None else float(np.count_nonzero(mask)),
        box=_box(annotation, mask),
        mask=mask,
    )


def _box(annotation: Annotation, mask: npt.NDArray[np.bool_]) -> Corners:
    """Corners of an annotation's box, or of its mask's where it has none that is one."""
    if annotation.corners is not None:
        return annotation.corners
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
        skipped_ids: the first few ids of each reason.
        categories: names by id.
        named: every file that the annotations name, those without instances, too.
    """

    path: Path
    images_dir: Path
    images: list[TruthImage]
    skipped: dict[str, int]
    skipped_ids: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    categories: Mapping[int, str] = dataclasses.field(default_factory=dict)
    named: frozenset[Path] = frozenset()

    def beside(self) -> SkippedFiles | None:
        """Pictures that the annotations do not name, in the folders of those that they name.

        There are many where a part of a dataset was annotated, and few where some were forgotten.
        """
        folders = sorted({path.parent for path in self.named})
        listings = [pictures_listed(folder, below=False) for folder in folders if folder.is_dir()]
        known = {str(path).casefold() for path in self.named}  # as some file systems compare them
        pictures = [path for listing in listings for path in listing.pictures]
        found = [path for path in pictures if str(path).casefold() not in known]
        why = f"pictures that {self.path.name} does not name (they are not measured)"
        names = [os.path.relpath(path, self.images_dir) for path in found]
        return SkippedFiles.of(why, names) if names else None

    @property
    def instance_count(self) -> int:
        """Objects of all images."""
        return sum(len(image.annotations) for image in self.images)


def load_ground_truth(
    path: Path,
    images_dir: Path,
    *,
    limit: int | None = None,
    sample_range: SampleRange = "auto",
) -> GroundTruth:
    """Open COCO-format annotations; what cannot be used is left out and counted by reason.

    Args:
        path: the JSON file.
        images_dir: folder that the file names are relative to.
        limit: take the first so many images with instances; ``None`` takes all.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.

    Raises:
        DatasetError: missing or malformed file; it names the file and the annotation.
        BackendUnavailableError: there are polygons, and pycocotools is not installed.
    """
    left_out = LeftOut()
    images: list[TruthImage] = []
    file = read_annotations(path)
    for image, found in file:
        drawn = [a for a in found if _is_usable(a, image, left_out)]
        if drawn:
            place = image.path_in(images_dir)
            images.append(
                TruthImage(
                    image,
                    drawn,
                    path=place,
                    source=path,
                    sample_range=sample_range,
                    crowds=[a for a in found if a.iscrowd],
                )
            )
        if limit is not None and len(images) >= limit:
            break
    left_out.say(path)
    if not images:
        reason = f", only {left_out}" if left_out.counts else ""
        raise DatasetError(
            f"{path} has no instance to measure on{reason}: give a file with `annotations` that "
            "can be drawn."
        )
    return GroundTruth(
        path,
        images_dir,
        images,
        dict(left_out.counts),
        left_out.first_ids,
        file.categories,
        frozenset(image.path_in(images_dir) for image in file.images),
    )


def _is_usable(annotation: Annotation, image: AnnotatedImage, left_out: LeftOut) -> bool:
    reason = _flaw(annotation, image)
    if reason is not None:
        left_out.add(reason, annotation)
    return reason is None


def _flaw(annotation: Annotation, image: AnnotatedImage) -> str | None:
    """Why an annotation is no ground truth, ``None`` where it is."""
    if annotation.iscrowd:
        return CROWD
    try:
        mask = mask_from_segmentation(annotation.segmentation, image.size)
    except UndrawableError as error:
        return error.reason
    own = metrics.bounding_box(mask)
    if own is None:
        return "empty"
    x0, y0, x1, y1 = _box(annotation, mask)
    if min(x1, own[2]) <= max(x0, own[0]) or min(y1, own[3]) <= max(y0, own[1]):
        return "a box that does not touch its mask"
    if max(x1, y1) <= 1 < max(own[2] - own[0], own[3] - own[1]):
        return "a box in shares of the image instead of pixels"
    return None
