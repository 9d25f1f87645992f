"""A second look at the small masks of everything mode: each is drawn again from its own box."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from samedge.formats.results import Masks
from samedge.pixels import metrics, rle
from samedge.pixels.islands import mended
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.everything_masks import Drawn, Sheet
from samedge.predict.predictor import Predictor
from samedge.types import Prompt

_SAME = 0.5
"""IoU from which on the second mask is another drawing of the first, and not another thing."""


def refocused(
    predictor: Predictor, whole: ImageEmbedding, *, found: Sequence[Drawn], min_area: int
) -> list[Drawn]:
    """Masks, the small ones among them drawn from a closer look, few in memory at a time.

    Args:
        predictor: one that focuses.
        whole: the embedding of the whole image, by that predictor.
        found: the masks of the image, the best ranked first.
        min_area: smaller holes and islands are mended.
    """
    masks = list(found)
    prompts = [Prompt([one.mask.point], box=one.mask.box) for one in found]
    for place, answer in predictor.closer_looks(whole, prompts):
        masks[place] = _redrawn(found[place], answer, min_area)
    return masks


def _redrawn(first: Drawn, answer: Masks, min_area: int) -> Drawn:
    """The mask as the second look drew it, where it still is the same thing."""
    mask = answer.masks[0]
    if min_area:
        mask = mended(mask, least_px=min_area)
    box = metrics.bounding_box(mask)
    if answer.focus is None or box is None or metrics.mask_iou(mask, first.mask.mask) < _SAME:
        return first
    size = mask.shape[0], mask.shape[1]
    window = mask[box[1] : box[3], box[0] : box[2]]
    redrawn = dataclasses.replace(
        first.mask,
        rle=rle.rle_from_window(window, corner=box[:2], size=size),
        box=box,
        area=int(np.count_nonzero(window)),
        focus=answer.focus.region,
    )
    return Drawn(redrawn, Sheet(size).covered(window, corner=box[:2], point=first.mask.point))
