"""What the model is asked about objects in a frame, and where in the frame it looks for that."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from samedge.formats.results import Masks
from samedge.pixels.metrics import center_point
from samedge.tracking import appearance
from samedge.tracking.base import Region, Segmenter, Status
from samedge.tracking.geometry import Box, Grid
from samedge.tracking.settings import TrackerSettings
from samedge.tracking.settling import Answer, ObjectState
from samedge.types import Array, Prompt, Size

LEAST_BOX = 2.0
"""Pixels along a side: the model is asked about nothing smaller."""


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """What the model is asked about one object."""

    state: ObjectState
    box: Box
    prompts: tuple[Prompt, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Sight:
    """A part of the image, encoded.

    Attributes:
        region: the part; ``None`` is all of the image.
        embedding: of it.
    """

    region: Region | None
    embedding: Any

    def shows(self, boxes: Sequence[Box], *, size: Size, settings: TrackerSettings) -> bool:
        """Whether boxes are in it, with at least half the room around them that was wanted."""
        if self.region is None:
            return True
        left, top, right, bottom = self.region
        wanted = [box.grown(settings.focus_margin / 2).inside(size) for box in boxes]
        return all(
            left <= box.left and top <= box.top and box.right <= right and box.bottom <= bottom
            for box in wanted
        )


def region_around(boxes: Sequence[Box], size: Size, *, settings: TrackerSettings) -> Region | None:
    """The part of the image to encode: around all boxes; ``None`` for all of it.

    Args:
        boxes: of the objects, inside the image.
        size: ``(height, width)`` of the image.
        settings: of the tracker.
    """
    if not boxes or any(box.is_empty() for box in boxes):
        return None
    around = boxes[0].grown(settings.focus_margin)
    for box in boxes[1:]:
        around = around.joined(box.grown(settings.focus_margin))
    left, top, right, bottom = around.inside(size)
    region = (int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom)))
    area = (region[2] - region[0]) * (region[3] - region[1])
    return region if area < settings.focus_most * size[0] * size[1] else None


def question_about(
    found: ObjectState, expected: Box | None, *, grid: Grid, settings: TrackerSettings
) -> Question | None:
    """What to ask about an object, if anything.

    Args:
        found: the object, its mask carried into this frame.
        expected: where it should be; a lost one is asked about there.
        grid: of its logits.
        settings: of the tracker.
    """
    if found.status is Status.LOST:
        return None if expected is None else Question(found, expected, (Prompt(box=expected),))
    box = grid.box(found.logits)
    wide = None if box is None else box.grown(settings.box_margin).inside(grid.image_size)
    if wide is None or wide.is_empty(LEAST_BOX):
        return None
    return Question(found, wide, _prompts(found, wide, grid, settings))


def _prompts(
    found: ObjectState, box: Box, grid: Grid, settings: TrackerSettings
) -> tuple[Prompt, ...]:
    mask = grid.mask_from_logits(found.logits) if settings.use_mask or settings.use_click else None
    prompts = []
    if settings.use_box:
        prompts.append(Prompt(box=box))
    if settings.use_mask and mask is not None and mask.any():
        prompts.append(Prompt(box=box, mask=mask))
    if settings.use_click and mask is not None:
        point = center_point(mask)
        prompts += [] if point is None else [Prompt(box=box, points=[point])]
    return tuple(prompts) or (Prompt(box=box),)


def look(
    segmenter: Segmenter, image: Array, *, boxes: Sequence[Box], settings: TrackerSettings
) -> Sight | None:
    """The part of the image around some boxes, encoded; ``None`` without any.

    Args:
        segmenter: the model.
        image: (H, W, 3) uint8 RGB.
        boxes: of the objects.
        settings: of the tracker.
    """
    if not boxes:
        return None
    region = region_around(boxes, (image.shape[0], image.shape[1]), settings=settings)
    return Sight(region, segmenter.encode(image, region=region))


def answered(
    segmenter: Segmenter,
    images: tuple[Array, Image.Image],
    *,
    questions: Sequence[Question],
    sight: Sight | None,
    settings: TrackerSettings,
) -> Mapping[int, Answer]:
    """The best answer to each question, by the object's id; one look at the image for all.

    Args:
        segmenter: the model.
        images: the frame as the model takes it, and as a picture.
        questions: of the objects that are due.
        sight: what has been encoded of the frame.
        settings: of the tracker.
    """
    image, picture = images
    size = image.shape[0], image.shape[1]
    boxes = [question.box for question in questions]
    if sight is None or not sight.shows(boxes, size=size, settings=settings):
        sight = look(segmenter, image, boxes=boxes, settings=settings)
    if sight is None or not questions:
        return {}
    grid, embedding = Grid(size, settings.grid_side), sight.embedding
    prompts = [prompt for question in questions for prompt in question.prompts]
    results = iter(segmenter.decode_batch(embedding, prompts))
    found = {}
    for question in questions:
        best = _best(question, [next(results) for _ in question.prompts], picture, settings)
        found[question.state.id] = Answer(
            grid.logits_from_mask(best.masks[0]),
            float(best.iou_predictions[0]),
            float(best.stability_scores[0]),
        )
    return found


def _best(
    question: Question, masks: Sequence[Masks], picture: Image.Image, settings: TrackerSettings
) -> Masks:
    """The mask that the model finds good, and that has the object's colours."""
    if len(masks) == 1:
        return masks[0]
    window = question.box.grown(0.15).inside((picture.height, picture.width))

    def score(one: Masks) -> float:
        quality = float(one.iou_predictions[0] * one.stability_scores[0])
        known, bins = question.state.template, settings.histogram_bins
        fits = appearance.fit(picture, one.masks[0], known=known, window=window, bins=bins)
        return quality + settings.appearance_weight * fits

    return max(masks, key=score)
