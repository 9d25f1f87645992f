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
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from samedge.errors import ImageError, PromptError, UnknownNameError
from samedge.formats.results import Masks
from samedge.tracking import appearance
from samedge.tracking.asking import (
    LEAST_BOX,
    Question,
    Sight,
    answered,
    look,
    question_about,
    region_around,
)
from samedge.tracking.base import Segmenter, Status, Stepped, Strategy, TrackedObject
from samedge.tracking.carrying import carried
from samedge.tracking.geometry import Box, Grid
from samedge.tracking.settings import TrackerSettings
from samedge.tracking.settling import ObjectState, Said, said_by_colours, settled
from samedge.types import Array, Prompt, Size


@dataclasses.dataclass(frozen=True, eq=False)
class PropagationState:
    """The state of all objects after one frame.

    Attributes:
        picture: the frame, RGB; a copy.
        objects: by their ids.
        frames: how many there have been.
        next_id: of the next object.
    """

    picture: Image.Image
    objects: tuple[ObjectState, ...]
    frames: int
    next_id: int


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
        if state is not None:
            _check_size(image, state)
        size: Size = (image.shape[0], image.shape[1])
        first_id = 0 if state is None else state.next_id
        masks = _first_masks(segmenter, image, prompts, settings)
        picture = Image.fromarray(image)
        new = [
            _new_object(first_id + index, picture, mask, settings)
            for index, mask in enumerate(masks)
        ]
        known = () if state is None else state.objects
        grid = Grid(size, settings.grid_side)
        shown = [_unchanged(found, grid) for found in known]
        shown += [
            TrackedObject(found.id, found.status, mask, similarity=1.0)
            for found, mask in zip(new, masks, strict=True)
        ]
        frames = 1 if state is None else state.frames
        after = PropagationState(picture, (*known, *new), frames, first_id + len(new))
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
        _check_size(image, state)
        grid, picture = (
            Grid((image.shape[0], image.shape[1]), settings.grid_side),
            Image.fromarray(image),
        )
        due = {found.id for found in state.objects if _is_due(found, state.frames, settings)}
        expected = {
            found.id: box
            for found in state.objects
            if found.id in due and (box := _expected(found, picture, grid, settings))
        }
        prepare = functools.partial(_prepared, state, picture, grid, settings, due, expected)
        boxes = list(expected.values())
        see = functools.partial(look, segmenter, image, boxes=boxes, settings=settings)
        prepared, sight = _both(prepare, see) if expected else (prepare(), None)
        questions = [one.question for one in prepared if one.question is not None]
        answers = answered(
            segmenter, (image, picture), questions=questions, sight=sight, settings=settings
        )
        ended = [
            settled(
                one.moved,
                answers.get(one.moved.id),
                said=one.said,
                image=picture,
                grid=grid,
                settings=settings,
            )
            for one in prepared
        ]
        after = dataclasses.replace(
            state,
            picture=picture,
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


def _check_size(image: Array, state: PropagationState) -> None:
    """Refuse a frame of another size than the ones before.

    Raises:
        ImageError: it is one.
    """
    height, width = image.shape[:2]
    before = state.picture
    if (width, height) != before.size:
        raise ImageError(
            f"The frame is {width}x{height} pixels, and the ones before had {before.width}x"
            f"{before.height}: begin again with a prompt when a camera changes its size."
        )


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
    inside = [box.inside(size) for box in boxes] if lone_boxes else []
    region = region_around(inside, size, settings=settings)
    return segmenter.decode_batch(segmenter.encode(image, region=region), prompts)


def _new_object(
    object_id: int, picture: Image.Image, mask: Array, settings: TrackerSettings
) -> ObjectState:
    grid = Grid((picture.height, picture.width), settings.grid_side)
    logits = grid.logits_from_mask(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    known = appearance.template(picture, mask, box=box, bins=settings.histogram_bins)
    return ObjectState(object_id, logits, (0.0, 0.0), known, Status.FOLLOWED, 0, box)


def _unchanged(found: ObjectState, grid: Grid) -> TrackedObject:
    """An object in the frame that it has been followed to already."""
    return TrackedObject(found.id, found.status, _mask(found, grid))


def _mask(found: ObjectState, grid: Grid) -> Array:
    if found.status is Status.LOST:
        return np.zeros(grid.image_size, np.bool_)
    return grid.mask_from_logits(found.logits)


@dataclasses.dataclass(frozen=True, eq=False)
class _Prepared:
    """What there is of an object before the model's answer.

    Attributes:
        moved: the object, its mask carried along.
        question: for the model, where it is due.
        said: by the colours around it.
    """

    moved: ObjectState
    question: Question | None
    said: Said | None


def _prepared(
    state: PropagationState,
    picture: Image.Image,
    grid: Grid,
    settings: TrackerSettings,
    due: Collection[int],
    expected: Mapping[int, Box],
) -> list[_Prepared]:
    """All that needs no encoded image, one entry an object."""
    found = []
    for known in state.objects:
        moved = _moved(known, state.picture, picture, grid, settings)
        box = expected.get(moved.id)
        question = (
            question_about(moved, box, grid=grid, settings=settings) if moved.id in due else None
        )
        said = said_by_colours(moved, picture, grid=grid, settings=settings)
        found.append(_Prepared(moved, question, said))
    return found


def _both(
    prepare: Callable[[], list[_Prepared]], see: Callable[[], Sight | None]
) -> tuple[list[_Prepared], Sight | None]:
    """Both at the same time; the model stays in this thread."""
    with ThreadPoolExecutor(max_workers=1) as beside:
        preparing = beside.submit(prepare)
        sight = see()
        return preparing.result(), sight


def _moved(
    found: ObjectState,
    before: Image.Image,
    after: Image.Image,
    grid: Grid,
    settings: TrackerSettings,
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
    found: ObjectState, picture: Image.Image, grid: Grid, settings: TrackerSettings
) -> Box | None:
    """Where an object should be: by its last move, or by its colours where it is lost."""
    if found.status is Status.FOLLOWED:
        box: Box | None = found.box.moved(*found.velocity).inside(grid.image_size)
    else:
        box = appearance.likely_box(
            picture, found.template, near=found.box, bins=settings.histogram_bins
        )
    return None if box is None or box.is_empty(LEAST_BOX) else box


STRATEGY = Propagation()
