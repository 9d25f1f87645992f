"""Duplicates and order of very many masks: only those near each other are compared."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from samedge.pixels.boxes import box_ious
from samedge.types import Array

_CELLS = 64  # along the longer side of what all boxes cover


def between_groups(
    boxes: Array, scores: Array, *, groups: Sequence[frozenset[int]], threshold: float
) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression between boxes that have no group in common.

    Boxes of one tile were compared there, with the masks at hand: only other tiles' suppress them.

    Args:
        boxes: (N, 4) ``x0, y0, x1, y1``.
        scores: (N,), higher is kept first.
        groups: the groups that each is of.
        threshold: boxes with a larger IoU with a kept one are dropped.

    Returns:
        (N,) for each box its own number, or that of the kept one which suppressed it.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    step = _step(boxes)
    near: dict[tuple[int, int], list[int]] = defaultdict(list)
    winners = np.arange(len(boxes))
    for number in order.tolist():
        cells = list(_cells(boxes[number], step))
        others = np.array(sorted({n for cell in cells for n in near[cell]}), np.int64)
        over = others[box_ious(boxes[number], boxes[others]) > threshold]
        rivals = [n for n in over.tolist() if not groups[n] & groups[number]]
        if rivals:
            winners[number] = min(rivals, key=lambda n: (-scores[n], n))
            continue
        for cell in cells:
            near[cell].append(number)
    return winners


def soft_order(boxes: Array, scores: Array, *, sigma: float) -> list[int]:
    """What :func:`samedge.pixels.boxes.soft_nms_order` gives, where all pairs are too many.

    Args:
        boxes: (N, 4) ``x0, y0, x1, y1``.
        scores: (N,), of 0 or more, higher comes first.
        sigma: the larger, the less is lowered; 0 leaves the order of the scores.
    """
    left = np.array(scores, np.float64)
    if not sigma:
        return [int(number) for number in np.argsort(-left, kind="stable")]
    step = _step(boxes)
    near: dict[tuple[int, int], list[int]] = defaultdict(list)
    cells = [list(_cells(box, step)) for box in boxes]
    for number, own in enumerate(cells):
        for cell in own:
            near[cell].append(number)
    waiting = [(-score, number) for number, score in enumerate(left.tolist())]
    heapq.heapify(waiting)
    order: list[int] = []
    while waiting:
        score, number = heapq.heappop(waiting)
        if -score > left[number]:  # it was lowered since; what waits is never less than it counts
            heapq.heappush(waiting, (-float(left[number]), number))
            continue
        order.append(number)
        left[number] = -np.inf
        others = np.array(sorted({n for cell in cells[number] for n in near[cell]}), np.int64)
        others = others[np.isfinite(left[others])]
        left[others] *= np.exp(-(box_ious(boxes[number], boxes[others]) ** 2) / sigma)
    return order


def _step(boxes: Array) -> float:
    return max(float(np.max(boxes, initial=1.0)) / _CELLS, 1.0)


def _cells(box: Array, step: float) -> Iterator[tuple[int, int]]:
    x0, y0, x1, y1 = (int(value // step) for value in box)
    for row in range(y0, y1 + 1):
        for column in range(x0, x1 + 1):
            yield row, column
