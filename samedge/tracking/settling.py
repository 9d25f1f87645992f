"""An object after the model's answer: corrected, recognised, lost, or found again."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from samedge.pixels.metrics import mask_iou
from samedge.tracking import appearance
from samedge.tracking.appearance import Template
from samedge.tracking.base import Status, TrackedObject
from samedge.tracking.geometry import INSIDE_LOGIT, Box, Grid
from samedge.tracking.settings import TrackerSettings
from samedge.types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class ObjectState:
    """What is remembered of one object.

    Attributes:
        id: of the object.
        logits: (h, w) float32 on the grid; of the last frame in which it was followed.
        velocity: ``(right, down)`` pixels in the last step.
        template: its colours.
        status: whether it is followed.
        misses: frames in a row in which it did not look like itself.
        box: where it was last.
    """

    id: int
    logits: Array
    velocity: tuple[float, float]
    template: Template
    status: Status
    misses: int
    box: Box


@dataclasses.dataclass(frozen=True, eq=False)
class Said:
    """What colours say of an object.

    Attributes:
        cells: rows and columns of the grid.
        evidence: of each of these, -1 to 1.
    """

    cells: tuple[slice, slice]
    evidence: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """The best of the model's masks of one object."""

    logits: Array
    predicted_iou: float
    stability: float

    @property
    def quality(self) -> float:
        """How good the model finds its own mask, 0 to 1."""
        return self.predicted_iou * self.stability


def settled(
    found: ObjectState,
    answer: Answer | None,
    *,
    said: Said | None,
    image: Image.Image,
    grid: Grid,
    settings: TrackerSettings,
) -> tuple[ObjectState, TrackedObject]:
    """An object after the model's answer.

    Args:
        found: the object, its mask carried into this frame.
        answer: the model's, where it was asked.
        said: what :func:`said_by_colours` gave of the object.
        image: the frame.
        grid: of the logits.
        settings: of the tracker.
    """
    if found.status is Status.LOST:
        return _found_again(found, answer, image, grid, settings)
    agreement = None
    logits = found.logits
    if answer is not None:
        agreement = mask_iou(answer.logits > 0, logits > 0)
        trusted = agreement >= settings.least_agreement
        if trusted and answer.quality >= settings.least_quality:
            weight = settings.model_weight
            logits = (1 - weight) * logits + weight * answer.logits
    logits = _coloured(logits, said, settings)
    now = dataclasses.replace(found, logits=np.clip(logits, -INSIDE_LOGIT, INSIDE_LOGIT))
    mask = grid.mask_from_logits(now.logits)
    now, alike = _recognised(now, mask, image, grid, settings)
    if now.status is Status.LOST:
        mask = np.zeros_like(mask)
    return now, _shown(now, mask, answer, alike=alike, agreement=agreement)


def said_by_colours(
    found: ObjectState, image: Image.Image, *, grid: Grid, settings: TrackerSettings
) -> Said | None:
    """What the colours around a followed object say, against slow drift.

    It needs no answer of the model's, and so can be had while that works.

    Args:
        found: the object, its mask carried into this frame.
        image: the frame.
        grid: of the logits.
        settings: of the tracker.
    """
    if not settings.colour_weight or found.status is Status.LOST:
        return None
    cells = grid.window(found.box.grown(0.1))
    size = cells[0].stop - cells[0].start, cells[1].stop - cells[1].start
    if min(size) < 2:
        return None
    down, across = grid.scale
    window = Box(
        cells[1].start / across, cells[0].start / down, cells[1].stop / across, cells[0].stop / down
    ).inside(grid.image_size)
    evidence = appearance.evidence(
        image, found.template, window=window, size=size, bins=settings.histogram_bins
    )
    return Said(cells, evidence)


def _coloured(logits: Array, said: Said | None, settings: TrackerSettings) -> Array:
    if said is None:
        return logits
    coloured: Array = logits.copy()
    coloured[said.cells] += settings.colour_weight * said.evidence
    return coloured


def _shown(
    found: ObjectState,
    mask: Array,
    answer: Answer | None,
    *,
    alike: float | None,
    agreement: float | None,
) -> TrackedObject:
    return TrackedObject(
        found.id,
        found.status,
        mask,
        predicted_iou=None if answer is None else answer.predicted_iou,
        stability=None if answer is None else answer.stability,
        similarity=alike,
        agreement=agreement,
    )


def _recognised(
    found: ObjectState, mask: Array, image: Image.Image, grid: Grid, settings: TrackerSettings
) -> tuple[ObjectState, float | None]:
    """Whether an object still looks like itself; its template follows slow changes."""
    box = grid.box(found.logits)
    if box is None or not mask.any():
        return _missed(found, settings), None
    seen, around = appearance.sample(image, mask, box=box, bins=settings.histogram_bins)
    alike = appearance.similarity(found.template, seen, first_share=settings.template_share)
    if alike < settings.lost_similarity:
        return _missed(found, settings), alike
    known = found.template
    if alike >= settings.found_similarity:
        known = appearance.renewed(known, seen, around=around, box=box, rate=settings.template_rate)
    return dataclasses.replace(found, misses=0, template=known, box=box), alike


def _missed(found: ObjectState, settings: TrackerSettings) -> ObjectState:
    misses = found.misses + 1
    status = Status.LOST if misses >= settings.lost_frames else found.status
    return dataclasses.replace(found, misses=misses, status=status)


def _found_again(
    found: ObjectState,
    answer: Answer | None,
    image: Image.Image,
    grid: Grid,
    settings: TrackerSettings,
) -> tuple[ObjectState, TrackedObject]:
    """A lost object is found when the model's mask of the likely place is like it enough."""
    nothing = np.zeros(grid.image_size, np.bool_)
    if answer is None:
        return found, TrackedObject(found.id, Status.LOST, nothing)
    box = grid.box(answer.logits)
    mask = grid.mask_from_logits(answer.logits)
    alike = None
    if box is not None and mask.any():
        seen, _ = appearance.sample(image, mask, box=box, bins=settings.histogram_bins)
        alike = appearance.similarity(found.template, seen, first_share=settings.template_share)
    good = answer.quality >= settings.found_quality
    if box is None or alike is None or alike < settings.found_similarity or not good:
        return found, _shown(found, nothing, answer, alike=alike, agreement=None)
    now = dataclasses.replace(
        found,
        logits=answer.logits,
        velocity=(0.0, 0.0),
        status=Status.FOLLOWED,
        misses=0,
        box=box,
    )
    return now, _shown(now, mask, answer, alike=alike, agreement=None)
