"""How much of an image's objects everything mode finds, by docs/accuracy-protocol.md."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from samedge.evaluation import recall
from samedge.evaluation.ground_truth import GroundTruth, TruthImage
from samedge.evaluation.reading import Readings
from samedge.pixels import metrics
from samedge.predict.everything import EverythingConfig, masks_and_clicks
from samedge.predict.predictor import Predictor
from samedge.records import DatasetRecord, EverythingRow, Subject, subject_fields
from samedge.types import Array, Progress, Stage, Steps

NAME = "everything"


@dataclasses.dataclass(frozen=True, eq=False)
class EverythingSubject:
    """What is measured.

    Attributes:
        subject: bundle, backend and the like.
        predictor: an open one.
        config: of the generator; ``None``: the bundle's own.
    """

    subject: Subject
    predictor: Predictor
    config: EverythingConfig | None = None


class ImageFinds(msgspec.Struct, frozen=True):
    """What one subject found in one image.

    Attributes:
        image: its name.
        ious: of each mask, the best ranked first, with each object.
        areas: of the objects, in square pixels, as the ground truth says.
        clicks: that were decoded.
        seconds: that it took.
    """

    image: str
    ious: list[list[float]]
    areas: list[float]
    clicks: int
    seconds: float

    def recall(self) -> recall.ImageRecall:
        """Which of the objects are found."""
        ious = np.array(self.ious, np.float64).reshape(-1, len(self.areas))
        return recall.image_recall(ious, self.areas)


def evaluate_everything(
    subjects: Sequence[EverythingSubject],
    truth: GroundTruth,
    *,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> tuple[list[EverythingRow], DatasetRecord]:
    """Find the masks of every image without prompts, and compare them with its objects.

    An image that cannot be read is left out and named in the dataset's record.

    Args:
        subjects: what is compared.
        truth: from ``load_ground_truth``.
        progress: hears of every image.
        stage: is told the first subject's average recall so far.

    Returns:
        One row a subject, and what it was measured on.

    Raises:
        DatasetError: an image's file is missing, or none of the images can be read.
        InferenceError: a backend failed.
    """
    readings = Readings(truth)
    finds: list[list[ImageFinds]] = [[] for _ in subjects]
    recalls: list[recall.ImageRecall] = []  # of the first subject
    steps = Steps(len(truth.images), progress=progress, stage=stage)
    for image in truth.images:
        pixels = readings.pixels(image)
        if pixels is not None:
            for subject, own in zip(subjects, finds, strict=True):
                own.append(found_in_image(subject, image, pixels=pixels))
            recalls += [own[-1].recall() for own in finds[:1]]
        steps.step(_so_far(recalls))
    dataset = readings.record()
    return [everything_row(s, f) for s, f in zip(subjects, finds, strict=True)], dataset


def found_in_image(measured: EverythingSubject, image: TruthImage, *, pixels: Array) -> ImageFinds:
    """Find the masks of one image without prompts, and compare them with its objects.

    Args:
        measured: what is measured.
        image: its objects.
        pixels: (H, W, 3) uint8 RGB, of it.

    Raises:
        InferenceError: the backend failed.
    """
    start = time.perf_counter()
    found, clicks = masks_and_clicks(measured.predictor, pixels, config=measured.config)
    seconds = time.perf_counter() - start
    objects = list(image.instances())
    masks = np.stack([one.mask for one in objects])
    ious = recall.mask_ious(((one.box, one.mask) for one in found), masks)
    areas = [float(one.area) for one in objects]
    return ImageFinds(image.name, ious.tolist(), areas, clicks, seconds)


def everything_row(measured: EverythingSubject, finds: Sequence[ImageFinds]) -> EverythingRow:
    """One subject's row of the record.

    Args:
        measured: the subject.
        finds: of the images.
    """
    images = [one.recall() for one in finds]
    best = [iou for image in images for iou in image.best.tolist()]
    owners = [one.image for one in finds for _ in one.areas]
    ar_10, ar_100, ar_1000 = (recall.average_recall(images, limit=n) for n in recall.LIMITS)
    return EverythingRow(
        n=len(best),
        images=len(images),
        ar_10=ar_10,
        ar_100=ar_100,
        ar_1000=ar_1000,
        ar_100_by_size={s: recall.average_recall_of_size(images, s) for s in recall.SIZES},
        best_iou=recall.mean_best_iou(images),
        best_iou_by_size={s: recall.mean_best_iou(images, size=s) for s in recall.SIZES},
        best_iou_ci95=metrics.bootstrap_mean(best, owners) if best else None,
        masks_an_image=float(np.mean([image.masks for image in images])) if images else None,
        clicks_an_image=sum(one.clicks for one in finds) / len(finds) if finds else None,
        seconds=round(sum(one.seconds for one in finds), 3),
        focus=measured.predictor.focus,
        **subject_fields(measured.subject),
    )


def _so_far(images: Sequence[recall.ImageRecall]) -> str:
    value = recall.average_recall(images, limit=100)
    return "" if value is None else f"AR@100 {value:.3f}"
