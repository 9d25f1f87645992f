"""How good and how fast: mask measures, click simulation, intervals, percentiles. NumPy only.

The evaluator, the benchmark and the trainer share these functions, so that a prompt simulated in
training is the prompt that is measured later. Masks are (H, W) bool arrays of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

BOUNDARY_DILATION_RATIO = 0.02
"""Width of the boundary band as a share of the image's diagonal (Cheng et al., 2021)."""

SMALL_AREA, LARGE_AREA = 32.0**2, 96.0**2
"""Where COCO splits objects, in square pixels of the original image."""

PERCENTILE_MIN_COUNT = {50: 1, 90: 64, 95: 130, 99: 662}
"""Samples that a percentile needs before it is printed.

With fewer, the chance that not one sample lies beyond the true percentile exceeds 0.13% (three
standard deviations), and the printed figure would be the luck of the run. The median needs no tail.
"""


def embedding_cosines(wanted: Array, given: Array) -> tuple[float, ...]:
    """Similarity of each photo's embeddings, what all photos of ``wanted`` share taken away.

    Without that an embedding that is the same for every photo would pass for similar.

    Args:
        wanted: (P, ...) of the reference, at least two photos.
        given: (P, ...), the same photos.
    """
    common = wanted.mean(axis=0, dtype=np.float64)
    result = []
    for want, have in zip(wanted, given, strict=True):
        a, b = (want - common).ravel(), (have - common).ravel()
        result.append(float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30)))
    return tuple(result)


def mask_iou(first: Mask, second: Mask) -> float:
    """Intersection over union of two masks, in [0, 1].

    Two empty masks agree perfectly and score 1.
    """
    union = int(np.count_nonzero(first | second))
    return 1.0 if union == 0 else int(np.count_nonzero(first & second)) / union


def bounding_box(mask: Mask) -> tuple[int, int, int, int] | None:
    """Smallest half-open box ``(x0, y0, x1, y1)`` that holds the mask, or ``None`` if it is empty.

    Width and height are ``x1 - x0`` and ``y1 - y0``: one pixel has a box of one by one.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _erode(mask: Mask, radius: int) -> Mask:
    """Erode by a square of side ``2 * radius + 1``; what is outside of the array is background."""
    for axis in (0, 1):
        moved = np.moveaxis(mask, axis, 0)
        width = [(radius + 1, radius), (0, 0)]
        sums = np.cumsum(np.pad(moved, width), axis=0, dtype=np.int32)
        full = sums[2 * radius + 1 :] - sums[: -2 * radius - 1] == 2 * radius + 1
        mask = np.moveaxis(full, 0, axis)
    return mask


def boundary(mask: Mask, *, dilation_ratio: float = BOUNDARY_DILATION_RATIO) -> Mask:
    """The band of mask pixels that lie near the mask's edge; the image's border is an edge.

    Source: B. Cheng, R. Girshick, P. Dollár, A. C. Berg, A. Kirillov, "Boundary IoU: Improving
    Object-Centric Image Segmentation Evaluation", CVPR 2021.

    Args:
        mask: (H, W) bool.
        dilation_ratio: width of the band as a share of the image's diagonal; at least one pixel.
    """
    radius = max(1, round(dilation_ratio * float(np.hypot(*mask.shape))))
    band: Mask = mask.copy()
    box = bounding_box(mask)
    if box is None:
        return band
    window = (slice(box[1], box[3]), slice(box[0], box[2]))
    band[window] &= ~_erode(mask[window], radius)
    return band


def boundary_iou(
    first: Mask, second: Mask, *, dilation_ratio: float = BOUNDARY_DILATION_RATIO
) -> float:
    """IoU of the two masks' boundary bands (Cheng et al., 2021), in [0, 1].

    Objects thinner than twice the band are all boundary, and score their plain mask IoU.
    """
    return mask_iou(
        boundary(first, dilation_ratio=dilation_ratio),
        boundary(second, dilation_ratio=dilation_ratio),
    )


def _vertical_distance(padded: Mask) -> npt.NDArray[np.int32]:
    """Distance of each pixel to the nearest background pixel of its own column."""
    rows = np.arange(len(padded), dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(padded, 0, rows), axis=0)
    below = np.minimum.accumulate(np.where(padded, len(padded) - 1, rows)[::-1], axis=0)[::-1]
    nearest: npt.NDArray[np.int32] = np.minimum(rows - above, below - rows)
    return nearest


def squared_edge_distance(mask: Mask) -> npt.NDArray[np.int32]:
    """Exact squared Euclidean distance of each mask pixel to the nearest pixel outside the mask.

    Pixels beyond the image's border count as outside. Background pixels have distance 0.

    The transform is separable: distances along columns first, then the lower envelope along rows,
    taken offset by offset up to the radius of the largest disc that fits (after A. Meijster,
    J. Roerdink, W. Hesselink, "A general algorithm for computing distance transforms in linear
    time", 2000). It costs O(pixels of the bounding box x radius).

    Returns:
        (H, W) int32, in square pixels.
    """
    result = np.zeros(mask.shape, np.int32)
    box = bounding_box(mask)
    if box is None:
        return result
    window = (slice(box[1], box[3]), slice(box[0], box[2]))
    columns = _vertical_distance(np.pad(mask[window], 1)) ** 2
    best = columns.copy()
    offset = 1
    while offset * offset < best.max():
        reach = columns + offset * offset
        np.minimum(best[:, offset:], reach[:, :-offset], out=best[:, offset:])
        np.minimum(best[:, :-offset], reach[:, offset:], out=best[:, :-offset])
        offset += 1
    result[window] = best[1:-1, 1:-1]
    return result


def center_point(mask: Mask) -> tuple[int, int] | None:
    """The mask's pixel that is furthest from the mask's edge: the middle of its thickest part.

    Of several such pixels the first in reading order is taken.

    Returns:
        ``(x, y)`` pixel of the image, or ``None`` for an empty mask.
    """
    distance = squared_edge_distance(mask)
    index = int(distance.argmax())
    y, x = divmod(index, mask.shape[1])
    return (x, y) if distance[y, x] else None


def corrective_click(truth: Mask, predicted: Mask) -> tuple[int, int, int] | None:
    """Where a person would click next: the center of the larger kind of error.

    The pixels that are missing and the pixels that are too many are counted; the more numerous
    kind is clicked at its ``center_point``, with the missing ones first in a tie.

    Returns:
        ``(x, y, label)``, label 1 (foreground) on missing pixels and 0 (background) on surplus
        ones, or ``None`` when the masks are equal.
    """
    missing, surplus = truth & ~predicted, predicted & ~truth
    label = int(np.count_nonzero(missing) >= np.count_nonzero(surplus))
    point = center_point(missing if label else surplus)
    return None if point is None else (*point, label)


def size_class(area: float) -> str:
    """``"small"`` below 32 squared px, ``"large"`` from 96 squared px, else ``"medium"``."""
    if area < SMALL_AREA:
        return "small"
    return "medium" if area < LARGE_AREA else "large"


def bootstrap_mean(
    values: Sequence[float],
    groups: Sequence[int | str],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean, drawing whole groups with replacement.

    Instances of one image are not independent, so images are drawn, not instances.

    Args:
        values: one figure an instance.
        groups: the image of each instance.
        resamples: how many draws.
        level: coverage of the interval.
        seed: of the generator; the same input gives the same interval.

    Returns:
        ``(low, high)``, or ``None`` with fewer than two groups, which say nothing about spread.
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.bincount(index).astype(np.float64)
    if len(counts) < 2:
        return None
    sums = np.bincount(index, weights=np.asarray(values, np.float64))
    share = np.full(len(counts), 1 / len(counts))
    draws = np.random.default_rng(seed).multinomial(len(counts), share, size=resamples)
    low, high = np.quantile((draws @ sums) / (draws @ counts), _tails(level))
    return float(low), float(high)


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def bootstrap_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float] | None:
    """Ratio of two latencies from interleaved pairs, with a percentile bootstrap interval.

    The estimate is the geometric mean of the pairs' ratios, so that exchanging the two sides
    inverts it exactly.

    Args:
        numerators: one latency a pair, such as a block's median.
        denominators: the other side of each pair, measured right before or after.
        resamples: how many draws of whole pairs.
        level: coverage of the interval.
        seed: of the generator.

    Returns:
        ``(ratio, low, high)``, or ``None`` with fewer than five pairs.
    """
    logs = np.log(np.asarray(numerators, np.float64) / np.asarray(denominators, np.float64))
    if len(logs) < 5:
        return None
    draws = np.random.default_rng(seed).integers(len(logs), size=(resamples, len(logs)))
    low, high = np.quantile(logs[draws].mean(axis=1), _tails(level))
    return float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high))


def percentile(samples: Sequence[float], rank: int) -> float | None:
    """The ``rank``-th percentile, or ``None`` where the samples are too few to support it.

    Args:
        samples: latencies, in any unit.
        rank: one of the keys of ``PERCENTILE_MIN_COUNT``.
    """
    if len(samples) < PERCENTILE_MIN_COUNT[rank]:
        return None
    return float(np.percentile(np.asarray(samples, np.float64), rank))


def count_outliers(samples: Sequence[float]) -> int:
    """Samples outside of Tukey's fences, 1.5 interquartile ranges beyond the quartiles.

    They are counted for the reader and stay in every figure.
    """
    values = np.asarray(samples, np.float64)
    if len(values) < 4:
        return 0
    low, high = np.percentile(values, (25, 75))
    fence = 1.5 * (high - low)
    return int(np.count_nonzero((values < low - fence) | (values > high + fence)))
