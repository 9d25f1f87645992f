"""Following with a model that has no memory: each frame's prompts come from the frame before.

An object's mask is carried along by the motion in the pictures, the part of the image around it is
encoded, and the model is asked about it with a box. Its answer corrects the carried mask where the
two agree about which object it is; where they do not, the carried mask stays. Colours of the first
frame say when the object is lost, and where it may be found again.

What is encoded is the part where the object is expected by its last move: the mask is carried in a
thread at the same time. Where that shows the object to be elsewhere the image is encoded once more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from samedge.errors import ImageError, PromptError, UnknownNameError
from samedge.formats.results import Masks
from samedge.pixels.metrics import center_point
from samedge.tracking import appearance
from samedge.tracking.base import Region, Segmenter, Status, Stepped, Strategy, TrackedObject
from samedge.tracking.carrying import carried
from samedge.tracking.geometry import Box, Grid
from samedge.tracking.settings import TrackerSettings
from samedge.tracking.settling import Answer, ObjectState, settled
from samedge.types import Array, Prompt, Size

_LEAST_BOX = 2.0  # pixels along a side


@dataclasses.dataclass(frozen=True, eq=False)
class PropagationState:
    """The state of all objects after one frame.

    Attributes:
        image: (H, W, 3) uint8 RGB, the frame; not copied.
        objects: by their ids.
        frames: how many there have been.
        next_id: of the next object.
    """

    image: Array
    objects: tuple[ObjectState, ...]
    frames: int
    next_id: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Question:
    """What the model is asked about one object."""

    state: ObjectState
    box: Box
    prompts: tuple[Prompt, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class _Sight:
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


class Propagation(Strategy[PropagationState]):
    """By prompts, on any bundle."""

    def begin(
        self,
        segmenter: Segmenter,
        image: Array,
        *,
        prompts: Sequence[Prompt],
        state: PropagationState | None,
        settings: TrackerSettings,
    ) -> Stepped[PropagationState]:
        """See :meth:`Strategy.begin`."""
        size: Size = (image.shape[0], image.shape[1])
        first_id = 0 if state is None else state.next_id
        masks = _first_masks(segmenter, image, prompts, settings)
        new = [
            _new_object(first_id + index, image, mask, settings) for index, mask in enumerate(masks)
        ]
        known = () if state is None else state.objects
        grid = Grid(size, settings.grid_side)
        shown = [_unchanged(found, grid) for found in known]
        shown += [
            TrackedObject(found.id, found.status, mask, similarity=1.0)
            for found, mask in zip(new, masks, strict=True)
        ]
        frames = 1 if state is None else state.frames
        after = PropagationState(image, (*known, *new), frames, first_id + len(new))
        return Stepped(after, tuple(shown))

    def step(
        self,
        segmenter: Segmenter,
        image: Array,
        *,
        state: PropagationState,
        settings: TrackerSettings,
    ) -> Stepped[PropagationState]:
        """See :meth:`Strategy.step`."""
        if image.shape != state.image.shape:
            raise ImageError(
                f"The frame has shape {image.shape}, and the ones before had {state.image.shape}: "
                "begin again with a prompt when a camera changes its size."
            )
        grid = Grid((image.shape[0], image.shape[1]), settings.grid_side)
        due = {found.id for found in state.objects if _is_due(found, state.frames, settings)}
        expected = {
            found.id: box
            for found in state.objects
            if found.id in due and (box := _expected(found, image, grid, settings))
        }
        with ThreadPoolExecutor(max_workers=1) as beside:  # the model stays in this thread
            carrying = beside.submit(_all_moved, state, image, grid, settings)
            sight = _look(segmenter, image, list(expected.values()), settings)
            moved = carrying.result()
        questions = [
            question
            for found in moved
            if found.id in due
            and (question := _question(found, expected.get(found.id), grid, settings))
        ]
        answers = _ask(segmenter, image, questions, sight, settings)
        ended = [
            settled(found, answers.get(found.id), image=image, grid=grid, settings=settings)
            for found in moved
        ]
        after = dataclasses.replace(
            state,
            image=image,
            objects=tuple(now for now, _ in ended),
            frames=state.frames + 1,
        )
        return Stepped(after, tuple(shown for _, shown in ended))

    def without(self, state: PropagationState, object_id: int) -> PropagationState:
        """See :meth:`Strategy.without`."""
        left = tuple(found for found in state.objects if found.id != object_id)
        if len(left) == len(state.objects):
            known = [str(found.id) for found in state.objects]
            raise UnknownNameError("object", str(object_id), known)
        return dataclasses.replace(state, objects=left)


def _first_masks(
    segmenter: Segmenter, image: Array, prompts: Sequence[Prompt], settings: TrackerSettings
) -> list[Array]:
    """The mask of each prompt; one that is a mask of the image already is taken as it is."""
    asked = [prompt for prompt in prompts if _whole_mask(prompt) is None]
    results = iter(_segmented(segmenter, image, asked, settings) if asked else ())
    masks = []
    for index, prompt in enumerate(prompts):
        mask = _whole_mask(prompt)
        mask = next(results).masks[0] if mask is None else mask
        if mask.shape != image.shape[:2]:
            raise PromptError(
                f"The mask of object {index} is {mask.shape[1]}x{mask.shape[0]} pixels, and the "
                f"frame {image.shape[1]}x{image.shape[0]}: give a mask of the frame's size."
            )
        if not mask.any():
            raise PromptError(
                f"The prompt of object {index} shows nothing in the first frame: give another "
                "point or box."
            )
        masks.append(mask)
    return masks


def _whole_mask(prompt: Prompt) -> Array | None:
    """The mask of a prompt that is nothing but a mask of the image."""
    if prompt.box is not None or len(prompt.points) or prompt.mask is None:
        return None
    return prompt.mask if prompt.mask.dtype == np.bool_ else None


def _segmented(
    segmenter: Segmenter, image: Array, prompts: Sequence[Prompt], settings: TrackerSettings
) -> list[Masks]:
    boxes = [Box(*map(float, prompt.box)) for prompt in prompts if prompt.box is not None]
    size = (image.shape[0], image.shape[1])
    lone_boxes = len(boxes) == len(prompts) and not any(len(prompt.points) for prompt in prompts)
    region = _focus([box.inside(size) for box in boxes], size, settings) if lone_boxes else None
    return segmenter.decode_batch(segmenter.encode(image, region=region), prompts)


def _focus(boxes: Sequence[Box], size: Size, settings: TrackerSettings) -> Region | None:
    """The part of the image to encode: around all boxes; ``None`` for all of it."""
    if not boxes or any(box.is_empty() for box in boxes):
        return None
    around = boxes[0].grown(settings.focus_margin)
    for box in boxes[1:]:
        around = around.joined(box.grown(settings.focus_margin))
    left, top, right, bottom = around.inside(size)
    region = (int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom)))
    area = (region[2] - region[0]) * (region[3] - region[1])
    return region if area < settings.focus_most * size[0] * size[1] else None


def _new_object(
    object_id: int, image: Array, mask: Array, settings: TrackerSettings
) -> ObjectState:
    grid = Grid((image.shape[0], image.shape[1]), settings.grid_side)
    logits = grid.logits_from_mask(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    known = appearance.template(image, mask, box=box, bins=settings.histogram_bins)
    return ObjectState(object_id, logits, (0.0, 0.0), known, Status.FOLLOWED, 0, box)


def _unchanged(found: ObjectState, grid: Grid) -> TrackedObject:
    """An object in the frame that it has been followed to already."""
    return TrackedObject(found.id, found.status, _mask(found, grid))


def _mask(found: ObjectState, grid: Grid) -> Array:
    if found.status is Status.LOST:
        return np.zeros(grid.image_size, np.bool_)
    return grid.mask_from_logits(found.logits)


def _all_moved(
    state: PropagationState, image: Array, grid: Grid, settings: TrackerSettings
) -> list[ObjectState]:
    return [_moved(found, state.image, image, grid, settings) for found in state.objects]


def _moved(
    found: ObjectState, before: Array, after: Array, grid: Grid, settings: TrackerSettings
) -> ObjectState:
    """An object with its mask carried along; a lost one stays where it was."""
    if found.status is Status.LOST:
        return found
    now = carried(
        found.logits, before, after=after, grid=grid, velocity=found.velocity, settings=settings
    )
    box = grid.box(now.logits)
    return dataclasses.replace(
        found, logits=now.logits, velocity=now.velocity, box=found.box if box is None else box
    )


def _is_due(found: ObjectState, frames: int, settings: TrackerSettings) -> bool:
    """Whether the model is asked about an object in this frame."""
    if found.status is Status.LOST:
        return frames % settings.search_every == 0
    return frames % settings.ask_every == 0 or found.misses > 0


def _expected(
    found: ObjectState, image: Array, grid: Grid, settings: TrackerSettings
) -> Box | None:
    """Where an object should be: by its last move, or by its colours where it is lost."""
    if found.status is Status.FOLLOWED:
        box: Box | None = found.box.moved(*found.velocity).inside(grid.image_size)
    else:
        box = appearance.likely_box(
            image, found.template, near=found.box, bins=settings.histogram_bins
        )
    return None if box is None or box.is_empty(_LEAST_BOX) else box


def _question(
    found: ObjectState, expected: Box | None, grid: Grid, settings: TrackerSettings
) -> _Question | None:
    """What to ask about an object, if anything."""
    if found.status is Status.LOST:
        return None if expected is None else _Question(found, expected, (Prompt(box=expected),))
    box = grid.box(found.logits)
    wide = None if box is None else box.grown(settings.box_margin).inside(grid.image_size)
    if wide is None or wide.is_empty(_LEAST_BOX):
        return None
    return _Question(found, wide, _prompts(found, wide, grid, settings))


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


def _look(
    segmenter: Segmenter, image: Array, boxes: Sequence[Box], settings: TrackerSettings
) -> _Sight | None:
    """The part of the image around some boxes, encoded; ``None`` without any."""
    if not boxes:
        return None
    region = _focus(boxes, (image.shape[0], image.shape[1]), settings)
    return _Sight(region, segmenter.encode(image, region=region))


def _ask(
    segmenter: Segmenter,
    image: Array,
    questions: Sequence[_Question],
    sight: _Sight | None,
    settings: TrackerSettings,
) -> Mapping[int, Answer]:
    """The best answer to each question, by the object's id; one look at the image for all."""
    size = image.shape[0], image.shape[1]
    boxes = [question.box for question in questions]
    if sight is None or not sight.shows(boxes, size=size, settings=settings):
        sight = _look(segmenter, image, boxes, settings)
    if sight is None or not questions:
        return {}
    grid, embedding = Grid(size, settings.grid_side), sight.embedding
    prompts = [prompt for question in questions for prompt in question.prompts]
    results = iter(segmenter.decode_batch(embedding, prompts))
    found = {}
    for question in questions:
        best = _best(question, [next(results) for _ in question.prompts], image, settings)
        found[question.state.id] = Answer(
            grid.logits_from_mask(best.masks[0]),
            float(best.iou_predictions[0]),
            float(best.stability_scores[0]),
        )
    return found


def _best(
    question: _Question, masks: Sequence[Masks], image: Array, settings: TrackerSettings
) -> Masks:
    """The mask that the model finds good, and that has the object's colours."""
    if len(masks) == 1:
        return masks[0]
    window = question.box.grown(0.15).inside((image.shape[0], image.shape[1]))

    def score(one: Masks) -> float:
        quality = float(one.iou_predictions[0] * one.stability_scores[0])
        known, bins = question.state.template, settings.histogram_bins
        fits = appearance.fit(image, one.masks[0], known=known, window=window, bins=bins)
        return quality + settings.appearance_weight * fits

    return max(masks, key=score)


STRATEGY = Propagation()
