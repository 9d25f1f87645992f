"""A second look at the small masks of everything mode: each is drawn again from its own box."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from samedge.formats.results import Masks
from samedge.pixels import metrics, rle
from samedge.pixels.islands import mended
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.everything_masks import AutomaticMask, Drawn, Sheet
from samedge.predict.predictor import Predictor
from samedge.types import Prompt

_SAME = 0.5
"""IoU from which on the second mask is another drawing of the first, and not another thing."""


def refocused(
    predictor: Predictor, whole: ImageEmbedding, *, found: Sequence[Drawn], min_area: int
) -> list[Drawn]:
    """As :func:`looked_closer`, for masks that are compared with others."""
    masks = [one.mask for one in found]
    made = looked_closer(predictor, whole, masks=masks, min_area=min_area)
    return [
        one if mask is one.mask else dataclasses.replace(one, mask=mask, sheet=_sheet(mask))
        for one, mask in zip(found, made, strict=True)
    ]


def looked_closer(
    predictor: Predictor, whole: ImageEmbedding, *, masks: Sequence[AutomaticMask], min_area: int
) -> list[AutomaticMask]:
    """Masks, the small ones among them drawn from a closer look, few in memory at a time.

    Args:
        predictor: one that focuses.
        whole: the embedding of the whole image, by that predictor.
        masks: of the image, the best ranked first.
        min_area: smaller holes and islands are mended.
    """
    made = list(masks)
    prompts = [Prompt([one.point], box=one.box) for one in masks]
    for place, answer in predictor.closer_looks(whole, prompts):
        made[place] = _redrawn(masks[place], answer, min_area)
    return made


def _redrawn(first: AutomaticMask, answer: Masks, min_area: int) -> AutomaticMask:
    """The mask as the second look drew it, where it still is the same thing."""
    mask = answer.masks[0]
    if min_area:
        mask = mended(mask, least_px=min_area)
    box = metrics.bounding_box(mask)
    if answer.focus is None or box is None or metrics.mask_iou(mask, first.mask) < _SAME:
        return first
    window = mask[box[1] : box[3], box[0] : box[2]]
    return dataclasses.replace(
        first,
        rle=rle.rle_from_window(window, corner=box[:2], size=(mask.shape[0], mask.shape[1])),
        box=box,
        area=int(np.count_nonzero(window)),
        focus=answer.focus.region,
    )


def _sheet(mask: AutomaticMask) -> npt.NDArray[np.bool_]:
    x0, y0, x1, y1 = mask.box
    whole = mask.mask
    sheet = Sheet((whole.shape[0], whole.shape[1]))
    return sheet.covered(whole[y0:y1, x0:x1], corner=(x0, y0), point=mask.point)
