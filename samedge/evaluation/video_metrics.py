"""J, F and what is made of them, by the protocol of DAVIS 2017.

J. Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation" (2017), and the
measures of F. Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation" (CVPR 2016). The rules at the edges, of a boundary at the image's border or of a mask
without any, are those of the published evaluation code; the tests compare with a second
implementation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from samedge.pixels.metrics import bounding_box, mask_iou

Mask = npt.NDArray[np.bool_]

BOUNDARY_TOLERANCE = 0.008
"""How far two boundaries may lie apart and still match, as a share of the image's diagonal."""

RECALL_THRESHOLD = 0.5
_QUARTERS = 4


def region_similarity(truth: Mask, predicted: Mask) -> float:
    """J: intersection over union, 1 when both are empty."""
    return mask_iou(truth, predicted)


def contour_accuracy(truth: Mask, predicted: Mask) -> float:
    """F: harmonic mean of precision and recall of the boundary's pixels."""
    radius = math.ceil(BOUNDARY_TOLERANCE * math.hypot(*truth.shape))
    wanted, given = contour(truth), contour(predicted)
    count_wanted, count_given = int(wanted.sum()), int(given.sum())
    if not count_wanted or not count_given:
        return float(count_wanted == count_given)
    precision = int((given & dilated(wanted, radius)).sum()) / count_given
    recall = int((wanted & dilated(given, radius)).sum()) / count_wanted
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: Mask) -> Mask:
    """The mask's boundary, one pixel wide: pixels that differ from one to the right or below.

    The last row and the last column have only one such neighbour, the last pixel none.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    edge: Mask = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    edge[-1] = mask[-1] ^ right[-1]
    edge[:, -1] = mask[:, -1] ^ below[:, -1]
    edge[-1, -1] = False
    return edge


def dilated(mask: Mask, radius: int) -> Mask:
    """Every pixel within ``radius`` of the mask, by the Euclidean distance."""
    result = np.zeros_like(mask)
    box = bounding_box(mask)
    if box is None:
        return result
    padded = np.pad(mask, radius)
    rows = slice(box[1], box[3] + 2 * radius)
    columns = slice(box[0], box[2] + 2 * radius)
    near = _dilated_part(padded[rows, columns], radius)
    padded[rows, columns] = near
    height, width = mask.shape
    inside: Mask = padded[radius : radius + height, radius : radius + width]
    return inside


def _dilated_part(mask: Mask, radius: int) -> Mask:
    """The same where the mask's border is ``radius`` wide and empty."""
    near = np.zeros_like(mask)
    for down in range(-radius, radius + 1):
        wide = _widened(mask, math.isqrt(radius**2 - down**2))
        if down >= 0:
            near[down:] |= wide[: len(wide) - down]
        else:
            near[:down] |= wide[-down:]
    return near


def _widened(mask: Mask, reach: int) -> Mask:
    """Every pixel within ``reach`` of the mask in its own row."""
    counts = np.cumsum(np.pad(mask, ((0, 0), (reach + 1, reach))), axis=1, dtype=np.int32)
    wide: Mask = counts[:, 2 * reach + 1 :] > counts[:, : -2 * reach - 1]
    return wide


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What is said about one measure of one object, over the frames that count.

    Attributes:
        mean: of all frames.
        recall: share of the frames above one half.
        decay: mean of the first quarter minus that of the last.
    """

    mean: float
    recall: float
    decay: float


def statistics(values: Sequence[float]) -> Statistics:
    """Mean, recall and decay of one object.

    The quarters share their border frames, as in the published code.

    Args:
        values: of every frame but the first, which was the prompt, and the last.
    """
    array = np.asarray(values, np.float64)
    borders = np.round(np.linspace(1, len(array), _QUARTERS + 1) + 1e-10).astype(int) - 1
    first, last = array[: borders[1] + 1], array[borders[-2] : borders[-1] + 1]
    return Statistics(
        mean=float(array.mean()),
        recall=float((array > RECALL_THRESHOLD).mean()),
        decay=float(first.mean() - last.mean()),
    )
