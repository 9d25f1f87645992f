"""Masks that a grid of clicks gave, at the decoder's resolution, and which are worth keeping."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from samedge.bundle.thresholds import Thresholds
from samedge.pixels.frames import LOW_RES_STRIDE, View
from samedge.predict.everything_settings import EverythingRules
from samedge.types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Low-res masks, N of them.

    Attributes:
        logits: (N, S/4, S/4) float32.
        boxes: (N, 4) float, pixels of the viewed part of the image.
        iou: (N,) predicted IoU.
        stability: (N,).
        points: (N, 2) xy pixels of the viewed part.
    """

    logits: Array
    boxes: Array
    iou: Array
    stability: Array
    points: Array

    def __getitem__(self, index: Array | slice) -> Candidates:
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Candidates(*(array[index] for array in fields))

    def rank(self, weight: float) -> npt.NDArray[np.float64]:
        """(N,) predicted IoU times stability to a power."""
        return ranks(self.iou, self.stability, weight=weight)


def ranks(iou: Array, stability: Array, *, weight: float) -> npt.NDArray[np.float64]:
    """Predicted IoU times stability to a power, float64."""
    found: npt.NDArray[np.float64] = np.asarray(iou, np.float64)
    return found if weight == 0 else found * np.asarray(stability, np.float64) ** weight


def joined(parts: Sequence[Candidates]) -> Candidates:
    """One after the other; at least one."""
    names = [field.name for field in dataclasses.fields(Candidates)]
    return Candidates(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def kept_of(
    view: View,
    points: Array,
    *,
    logits: Array,
    iou: Array,
    rules: EverythingRules,
    cuts: Thresholds,
) -> Candidates:
    """The masks of sufficient predicted IoU and stability that are not empty.

    Args:
        view: that they were decoded on.
        points: (B, 2) clicks, pixels of the viewed part.
        logits: (B, 3, S/4, S/4) of each click.
        iou: (B, 3) predicted IoU.
        rules: what is sufficient.
        cuts: of the model.
    """
    good = iou > rules.pred_iou_threshold
    chosen = logits[good]
    found = Candidates(
        logits=chosen,
        boxes=low_res_boxes(chosen, view, threshold=cuts.mask),
        iou=iou[good],
        stability=view.stability(chosen, offset=cuts.stability_offset),
        points=np.repeat(points, good.sum(axis=1), axis=0),
    )
    boxes = found.boxes
    kept = (found.stability >= rules.stability_threshold) & (boxes[:, 2] > boxes[:, 0])
    return found if kept.all() else found[kept]


def low_res_boxes(logits: Array, view: View, *, threshold: float) -> Array:
    """Boxes of low-res masks in pixels of the viewed part, (N, 4) float; zeros for empty masks."""
    height, width = view.low_res_size
    positive: npt.NDArray[np.bool_] = logits[:, :height, :width] > threshold
    edges = []
    for axis in (1, 2):
        taken: npt.NDArray[np.bool_] = np.any(positive, axis=axis)
        length = taken.shape[1]
        last = np.where(taken.any(axis=1), length - taken[:, ::-1].argmax(axis=1), 0)
        edges += [np.where(last > 0, taken.argmax(axis=1), 0), last]
    x0, x1, y0, y1 = edges
    scale = [
        LOW_RES_STRIDE * original / resized
        for original, resized in zip(view.viewed_size, view.input_size, strict=True)
    ]
    return np.stack([x0, y0, x1, y1], axis=1) * (scale[1], scale[0], scale[1], scale[0])
