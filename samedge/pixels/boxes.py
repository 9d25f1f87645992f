"""Where automatic masks look, and which they keep: crops, grids of clicks, suppression.

The rules are those of the automatic mask generator of "Segment Anything" (Kirillov et al., 2023,
appendix B); the tests compare with its reference code and with torchvision.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from samedge.types import Array, Size

Box = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)`` pixels, half open."""

_EDGE_TOLERANCE_PX = 20.0
"""A box that ends so near to the edge of a crop, or nearer, counts as cut off by it."""


def crop_boxes(size: Size, *, layers: int, overlap_ratio: float) -> Iterator[tuple[Box, int]]:
    """The whole image as layer 0, then the overlapping crops of each further layer.

    Args:
        size: ``(height, width)`` of the image.
        layers: layer i has 2^i x 2^i crops.
        overlap_ratio: of the first layer's crops, as a share of the image's shorter side.

    Yields:
        A crop, of one pixel at least, and its layer.
    """
    height, width = size
    yield (0, 0, width, height), 0
    for layer in range(1, layers + 1):
        side = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / side))
        lengths = [math.ceil((overlap * (side - 1) + full) / side) for full in (width, height)]
        starts = [[(length - overlap) * i for i in range(side)] for length in lengths]
        for x0, y0 in itertools.product(*starts):
            if x0 < width and y0 < height:  # an image of one row has no second row of crops
                yield (x0, y0, min(x0 + lengths[0], width), min(y0 + lengths[1], height)), layer


@functools.lru_cache(maxsize=8)
def point_grid(side: int) -> npt.NDArray[np.float64]:
    """(side^2, 2) xy points at the middles of a square's cells, as shares of its sides."""
    middles = (np.arange(max(side, 1)) + 0.5) / max(side, 1)
    grid = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    grid.setflags(write=False)
    return grid


def nms(boxes: Array, scores: Array, *, threshold: float) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression; gives what ``torchvision.ops.nms`` gives.

    Args:
        boxes: (N, 4) ``x0, y0, x1, y1``.
        scores: (N,), higher is kept first.
        threshold: boxes with a larger IoU with a kept one are dropped.

    Returns:
        Indices of the kept boxes by falling score.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    boxes = np.asarray(boxes, np.float64)[order]
    alive = np.ones(len(boxes), np.bool_)
    for index in range(len(boxes)):
        if alive[index]:
            alive[index + 1 :] &= box_ious(boxes[index], boxes[index + 1 :]) <= threshold
    return order[alive]


def soft_nms_order(boxes: Array, scores: Array, *, sigma: float) -> npt.NDArray[np.int64]:
    """All boxes by their scores, each lowered the more, the more it overlaps with those before it.

    Soft-NMS with the Gaussian weight exp(-IoU^2 / sigma) (N. Bodla et al., *Soft-NMS*, 2017), which
    ranks duplicates low instead of dropping them.

    Args:
        boxes: (N, 4) ``x0, y0, x1, y1``.
        scores: (N,), of 0 or more, higher comes first.
        sigma: the larger, the less is lowered; 0 leaves the order of the scores.

    Returns:
        (N,) indices of the boxes.
    """
    left = np.array(scores, np.float64)
    if not sigma:
        return np.argsort(-left, kind="stable")
    boxes = np.asarray(boxes, np.float64)
    order = np.zeros(len(boxes), np.int64)
    for place in range(len(boxes)):
        best = order[place] = int(left.argmax())
        left *= np.exp(-(box_ious(boxes[best], boxes) ** 2) / sigma)
        left[order[: place + 1]] = -1.0  # no infinity: times a weight of 0 it is none
    return order


def box_ious(box: Array, others: Array) -> npt.NDArray[np.float64]:
    """IoU of one box with each of others.

    Args:
        box: ``x0, y0, x1, y1``.
        others: (N, 4).
    """
    corner = np.minimum(box[2:], others[:, 2:])
    sides = np.maximum(corner - np.maximum(box[:2], others[:, :2]), 0)
    common = sides[:, 0] * sides[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    found: npt.NDArray[np.float64] = common / np.maximum(area + areas - common, 1e-12)
    return found


def cut_off(
    boxes: Array, crop_box: Box, *, size: Size, tolerance_px: float = _EDGE_TOLERANCE_PX
) -> npt.NDArray[np.bool_]:
    """Which boxes end at an edge of the crop that is not an edge of the image.

    Args:
        boxes: (N, 4) pixels of the crop.
        crop_box: in the image.
        size: ``(height, width)`` of the image.
        tolerance_px: so near to an edge a box ends there.
    """
    placed = boxes + np.array([*crop_box[:2], *crop_box[:2]])
    whole = np.array([0, 0, size[1], size[0]])
    near_crop = np.abs(placed - np.array(crop_box)) <= tolerance_px
    near_image = np.abs(placed - whole) <= tolerance_px
    cut: npt.NDArray[np.bool_] = (near_crop & ~near_image).any(axis=1)
    return cut
