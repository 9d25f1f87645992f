"""How much of an image's objects everything mode finds, by docs/accuracy-protocol.md."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

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


@dataclasses.dataclass
class _Tally:
    """What one subject found so far."""

    images: list[recall.ImageRecall] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    decoded: int = 0
    seconds: float = 0.0


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
    tallies = [_Tally() for _ in subjects]
    steps = Steps(len(truth.images), progress=progress, stage=stage)
    for image in truth.images:
        pixels = readings.pixels(image)
        if pixels is not None:
            for subject, tally in zip(subjects, tallies, strict=True):
                _count(subject, tally, image, pixels)
        steps.step(_so_far(tallies))
    dataset = readings.record()
    return [_row(s, t) for s, t in zip(subjects, tallies, strict=True)], dataset


def _so_far(tallies: Sequence[_Tally]) -> str:
    value = recall.average_recall(tallies[0].images, limit=100) if tallies else None
    return "" if value is None else f"AR@100 {value:.3f}"


def _count(subject: EverythingSubject, tally: _Tally, image: TruthImage, pixels: Array) -> None:
    start = time.perf_counter()
    found, clicks = masks_and_clicks(subject.predictor, pixels, config=subject.config)
    tally.seconds += time.perf_counter() - start
    tally.decoded += clicks
    objects = list(image.instances())
    masks = np.stack([one.mask for one in objects])
    ious = recall.mask_ious(((one.box, one.mask) for one in found), masks)
    tally.images.append(recall.image_recall(ious, [one.area for one in objects]))
    tally.names.append(image.name)


def _row(measured: EverythingSubject, tally: _Tally) -> EverythingRow:
    images = tally.images
    best = [iou for image in images for iou in image.best.tolist()]
    owners = [
        name for name, image in zip(tally.names, images, strict=True) for _ in image.best.tolist()
    ]
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
        clicks_an_image=tally.decoded / len(images) if images else None,
        seconds=round(tally.seconds, 3),
        focus=measured.predictor.focus,
        **subject_fields(measured.subject),
    )
