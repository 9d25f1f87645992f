"""A second look at the small masks of everything mode: each is drawn again from its own box."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from samedge.formats.results import Masks
from samedge.pixels import metrics, rle
from samedge.pixels.islands import mended
from samedge.predict.everything_masks import Drawn, Sheet
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt

_SAME = 0.5
"""IoU from which on the second mask is another drawing of the first, and not another thing."""


def refocused(
    predictor: Predictor, image: Array, *, found: Sequence[Drawn], min_area: int
) -> list[Drawn]:
    """Masks, the small ones among them drawn from a closer look.

    Args:
        predictor: one that focuses.
        image: (H, W, 3) uint8 RGB.
        found: the masks of the image, the best ranked first.
        min_area: smaller holes and islands are mended.
    """
    small = [place for place, one in enumerate(found) if predictor.looks_again(one.mask.box, image)]
    if not small:
        return list(found)
    prompts = [Prompt([found[i].mask.point], box=found[i].mask.box) for i in small]
    answers = predictor.decode_batch(predictor.encode(image), prompts)
    redrawn = {
        i: _redrawn(found[i], answer, min_area) for i, answer in zip(small, answers, strict=True)
    }
    return [redrawn.get(place, one) for place, one in enumerate(found)]


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
