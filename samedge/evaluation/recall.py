"""Average recall of masks that nobody asked for, by the definition of COCO's evaluation.

The rules are those of ``COCOeval`` with ``useCats = 0`` (T.-Y. Lin et al., *Microsoft COCO*, 2014;
J. Hosang et al., *What makes for effective detection proposals?*, 2016). In each image the masks
come in the order of their rank; each takes the object of the highest IoU that no earlier one took,
if that IoU reaches the threshold. Recall is the share of all objects that were taken, and average
recall its mean over the thresholds 0.50, 0.55, ... 0.95.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from samedge.pixels.boxes import Box
from samedge.pixels.metrics import size_class
from samedge.types import Array

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
LIMITS = (10, 100, 1000)
"""Masks an image that count, the best ranked ones."""

SIZES = ("small", "medium", "large")


def mask_ious(
    found: Iterable[tuple[Box, npt.NDArray[np.bool_]]], truth: npt.NDArray[np.bool_]
) -> Array:
    """IoU of every found mask with every object.

    Args:
        found: D masks, (H, W) bool, each with the box around it.
        truth: (G, H, W) bool.

    Returns:
        (D, G) float64.
    """
    areas = truth.sum(axis=(1, 2))
    rows = []
    for (x0, y0, x1, y1), mask in found:
        window = mask[y0:y1, x0:x1]
        common = np.count_nonzero(truth[:, y0:y1, x0:x1] & window, axis=(1, 2))
        union = areas + np.count_nonzero(window) - common
        rows.append(common / np.maximum(union, 1))
    return np.array(rows, np.float64).reshape(-1, len(truth))


def taken(ious: Array, *, threshold: float) -> npt.NDArray[np.bool_]:
    """Which objects are taken.

    Args:
        ious: (D, G), the best ranked mask first.
        threshold: least IoU.

    Returns:
        (G,) bool.
    """
    free = np.ones(ious.shape[1], np.bool_)
    for row in ious:
        if not free.any():
            break
        open_ = np.where(free, row, -1.0)
        best = int(np.argmax(open_))
        if open_[best] >= threshold:
            free[best] = False
    return ~free


@dataclasses.dataclass(frozen=True, eq=False)
class ImageRecall:
    """What was found of one image's objects.

    Attributes:
        sizes: of its G objects, each one of ``SIZES``.
        best: (G,) IoU of each with the mask that fits it best, of those that count at all.
        hits: by limit, (T, G) bool: which are taken at each threshold.
        hits_by_size: the same with 100 masks and only the objects of one size to be taken.
        masks: how many there were.
    """

    sizes: tuple[str, ...]
    best: Array
    hits: dict[int, npt.NDArray[np.bool_]]
    hits_by_size: dict[str, npt.NDArray[np.bool_]]
    masks: int


def image_recall(ious: Array, areas: Sequence[float]) -> ImageRecall:
    """What was found of one image's objects.

    Args:
        ious: (D, G), the best ranked mask first.
        areas: of the G objects, in square pixels, as the ground truth says.
    """
    sizes = tuple(size_class(area) for area in areas)
    counted = ious[: LIMITS[-1]]
    by_size = {}
    for size in SIZES:
        of_size = np.array([one == size for one in sizes], np.bool_)
        by_size[size] = _hits(counted[:100, of_size])
    return ImageRecall(
        sizes=sizes,
        best=counted.max(axis=0, initial=0.0),
        hits={limit: _hits(counted[:limit]) for limit in LIMITS},
        hits_by_size=by_size,
        masks=len(ious),
    )


def _hits(ious: Array) -> npt.NDArray[np.bool_]:
    return np.stack([taken(ious, threshold=threshold) for threshold in THRESHOLDS])


def average_recall(images: Sequence[ImageRecall], *, limit: int) -> float | None:
    """Mean over the thresholds of the share of all objects that ``limit`` masks an image take."""
    return _share([image.hits[limit] for image in images])


def average_recall_of_size(images: Sequence[ImageRecall], size: str) -> float | None:
    """The same with 100 masks an image, over the objects of one size."""
    return _share([image.hits_by_size[size] for image in images])


def mean_best_iou(images: Sequence[ImageRecall], *, size: str | None = None) -> float | None:
    """Mean over objects of the IoU with the mask that fits each best; ``None`` without objects."""
    ious = [
        iou
        for image in images
        for iou, own in zip(image.best.tolist(), image.sizes, strict=True)
        if size in (None, own)
    ]
    return float(np.mean(ious)) if ious else None


def _share(hits: Sequence[npt.NDArray[np.bool_]]) -> float | None:
    every = np.concatenate(hits, axis=1) if hits else np.zeros((len(THRESHOLDS), 0), np.bool_)
    return float(every.mean()) if every.shape[1] else None
