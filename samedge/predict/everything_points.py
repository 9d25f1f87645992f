"""Where everything mode clicks: a grid, coarse to fine, without the places that are settled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from samedge.pixels.frames import LOW_RES_STRIDE, View
from samedge.types import Array

_COARSEST_SIDE = 8
"""Clicks along each side that are decoded first, at least."""

GOOD_IOU, GOOD_STABILITY = 0.6, 0.6
"""Predicted IoU and stability from which on a mask settles the clicks inside of it; chosen on
photos held out of training."""


class ClickGrid:
    """The clicks of a grid in the order in which they are decoded.

    Args:
        points: (N, 2) xy pixels of the image; N is a square number, row by row.
        view: of the image, or the part of it, that they are on.
        coarse_to_fine: eight clicks or more along each side first, then twice as many until all are
            through, each time without those that are settled by then.
    """

    def __init__(self, points: Array, view: View, *, coarse_to_fine: bool) -> None:
        self.points = points
        side = round(len(points) ** 0.5)
        self._rounds = _rounds(side) if coarse_to_fine else [np.arange(side * side)]
        self._skips = coarse_to_fine
        self._cells = _cells(points, view)
        self._settled = np.zeros(len(points), np.bool_)

    def batches(self, size: int) -> Iterator[npt.NDArray[np.int64]]:
        """Numbers of the next clicks, at most ``size`` at a time, none that is settled by then."""
        for chosen in self._rounds:
            waiting = chosen
            while len(waiting):
                waiting = waiting[~self._settled[waiting]]
                if len(waiting):
                    yield waiting[:size]
                waiting = waiting[size:]

    def settle(self, logits: Array, *, threshold: float) -> None:
        """Take note of good masks.

        Args:
            logits: (M, S/4, S/4) low-res logits of them.
            threshold: logits above it are in the mask.
        """
        if self._skips and len(logits):
            rows, columns = self._cells
            self._settled |= (logits[:, rows, columns] > threshold).any(axis=0)


def _rounds(side: int) -> list[npt.NDArray[np.int64]]:
    rows, columns = np.divmod(np.arange(side * side), side)
    seen = np.zeros(side * side, np.bool_)
    found = []
    stride = 1
    while side // (2 * stride) >= _COARSEST_SIDE:
        stride *= 2
    while stride:
        middle = stride // 2
        now = (rows % stride == middle) & (columns % stride == middle) & ~seen
        seen |= now
        found.append(np.flatnonzero(now))
        stride //= 2
    return found


def _cells(points: Array, view: View) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row and column of each click among the low-res logits."""
    height, width = view.low_res_size
    cells = (view.input_coords(points) / LOW_RES_STRIDE).astype(np.int64)
    return np.clip(cells[:, 1], 0, height - 1), np.clip(cells[:, 0], 0, width - 1)
