"""What a prompt is about, and the same prompt asked of a part of the image, mirrored or not."""

from __future__ import annotations

import numpy as np

from samedge.formats.results import Masks
from samedge.pixels.frames import View
from samedge.pixels.metrics import bounding_box
from samedge.pixels.regions import Extent, around_all, cut_to
from samedge.types import FOREGROUND, Array, Prompt, Region


def extent_of(prompt: Prompt, view: View, *, threshold: float) -> Extent | None:
    """What a prompt is about: a box, or an earlier mask and clicks; ``None`` for clicks alone.

    Args:
        prompt: of any kind.
        view: of the whole image.
        threshold: logits of an earlier mask above it are in it.
    """
    if prompt.box is not None:
        return _with_clicks(cut_to(prompt.box.tolist(), view.original_size), prompt)
    if prompt.mask is None:
        return None
    mask: Array = prompt.mask
    if mask.dtype != np.bool_:
        seen = view.frame.view(view.original_size, region=prompt.region or view.bounds)
        mask = seen.masks(mask[None], threshold=threshold)[0]
    return _with_clicks(bounding_box(mask), prompt)


def extent_of_answer(prompt: Prompt, answer: Masks) -> Extent | None:
    """What clicks are about, by the best of their first masks; ``None`` for nothing."""
    if not (prompt.labels == FOREGROUND).any():  # nothing that a part would have to show
        return None
    best = int(np.argmax(answer.iou_predictions))
    return _with_clicks(bounding_box(answer.masks[best]), prompt)


def _with_clicks(box: Extent | None, prompt: Prompt) -> Extent | None:
    """A box grown to the clicks on the thing; ``None`` where there is neither."""
    clicks = prompt.points[prompt.labels == FOREGROUND].tolist()
    extents: list[Extent] = [(x, y, x, y) for x, y in clicks]
    if box is not None:
        extents.append(box)
    return around_all(extents) if extents else None


def within(prompt: Prompt, near: View, *, seen: View) -> Prompt:
    """A prompt as it is asked of a part of the image: clicks beyond it have nothing to say there.

    Args:
        prompt: about the whole image.
        near: of the part.
        seen: of the whole image, whose frame the prompt's logits are in where it does not say.
    """
    x0, y0, x1, y1 = near.bounds
    inside = ((prompt.points >= (x0, y0)) & (prompt.points <= (x1, y1))).all(axis=1)
    return Prompt(
        prompt.points[inside],
        prompt.labels[inside],
        box=None if prompt.box is None else cut_to(prompt.box.tolist(), near.original_size),
        mask=prompt.mask,
        region=prompt.region or seen.bounds,
    )


def is_plain_box(prompt: Prompt) -> bool:
    """Whether a prompt has a box, and no earlier mask that has a say beside it."""
    return prompt.box is not None and prompt.mask is None


def mirrored_prompt(prompt: Prompt, width: int) -> Prompt:
    """A prompt without a mask, about the image with its left and right exchanged.

    Args:
        prompt: about the image.
        width: of the image, pixels.
    """
    points = prompt.points.copy()
    points[:, 0] = width - points[:, 0]
    if prompt.box is None:
        return Prompt(points, prompt.labels)
    x0, y0, x1, y1 = prompt.box.tolist()
    return Prompt(points, prompt.labels, box=[width - x1, y0, width - x0, y1])


def mirrored_region(region: Region, width: int) -> Region:
    """Where a part of the image is in the image with its left and right exchanged.

    Args:
        region: pixels of the image.
        width: of the image, pixels.
    """
    return width - region[2], region[1], width - region[0], region[3]
