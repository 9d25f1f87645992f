"""A second look: what is small in the image is encoded again, larger, and decided there.

An encoder sees an image at one size, and a thing of twenty pixels is two places of its embedding.
So the part of the image around what a prompt is about is encoded again at the model's full input
size, the prompt is decoded on that, and the mask is put back into the image. It costs one encode a
part, neighbours share a part, and no call makes more than :attr:`FocusSettings.most_looks`.

A box is decoded twice, the second time with the logits of its first answer, and their mean counts:
one more decode, for large things, too. A click alone is decoded on the whole image and on the part
around its first mask, and the surer of the two looks counts.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from samedge.errors import OptionError, UnknownNameError
from samedge.formats.results import Masks
from samedge.pixels.frames import View
from samedge.pixels.metrics import bounding_box
from samedge.pixels.regions import (
    Extent,
    SharedRegion,
    Surroundings,
    around_all,
    cut_to,
    longest_side,
    shared_regions,
    square_region,
    zoom,
)
from samedge.pixels.regridding import regridded
from samedge.predict.decoding import MaskDecoder
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.looks import Looks
from samedge.types import FOREGROUND, Array, Focus, Prompt, Region, Size

FocusMode = Literal["auto", "never", "always"]
FOCUS_MODES: tuple[FocusMode, ...] = ("auto", "never", "always")

MOST_ROUNDS = 8
"""A prompt is asked again so many times at most."""

_PIXELS_AT_ONCE = 1 << 25
"""Of masks that closer looks hold together where their answers are taken one by one."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FocusSettings:
    """When a second look is taken, and how; chosen on photos that were held out of training.

    Attributes:
        below: ``auto`` looks again at what is smaller than this share of the image's longer side.
        around: how much is seen around it.
        least_zoom: no second look that shows things less than so many times larger.
        most_looks: parts encoded in one call, at most; the prompts that this leaves out get their
            first mask.

    Raises:
        OptionError: a setting is out of its range.
    """

    below: float = 0.25
    around: Surroundings = dataclasses.field(default_factory=Surroundings)
    least_zoom: float = 1.1
    most_looks: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.below <= 1 or self.least_zoom < 1 or self.most_looks < 1:
            raise OptionError(
                f"below, least_zoom and most_looks are {self.below}, {self.least_zoom} and "
                f"{self.most_looks}, expected a share above 0, and two numbers of at least 1."
            )


def checked_rounds(refine: int | None, *, mode: FocusMode, kinds: Sequence[str]) -> int:
    """How many times boxes are asked about again.

    Args:
        refine: as it was asked for; ``None``: once where small things get a second look and the
            model takes masks, else never.
        mode: when they do.
        kinds: of prompts that the model understands.

    Raises:
        OptionError: not a number from 0 to ``MOST_ROUNDS``, or the model takes no masks.
    """
    if refine is None:
        return int(mode != "never" and "mask" in kinds)
    if refine and "mask" not in kinds:
        raise OptionError(
            f"refine is {refine}, and the model understands {', '.join(kinds)}: it takes no mask "
            "to go on from. Leave refine out, or use another bundle."
        )
    if not 0 <= refine <= MOST_ROUNDS:
        raise OptionError(f"refine is {refine}, expected a number from 0 to {MOST_ROUNDS}.")
    return refine


def checked_mode(mode: str) -> FocusMode:
    """The word for when to look again.

    Raises:
        UnknownNameError: none of ``FOCUS_MODES``.
    """
    for known in FOCUS_MODES:
        if mode == known:
            return known
    raise UnknownNameError("focus", mode, FOCUS_MODES)


class SecondLook:
    """Decides prompts about an image, those about small things on a closer view of it.

    Args:
        mode: ``auto`` looks again at what is small, ``always`` at everything, ``never`` at nothing.
        decoder: of the bundle.
        encode: makes the embedding of a part of an image.
        refine: how many times boxes are asked about again.
        settings: when and how to look.
    """

    def __init__(
        self,
        mode: FocusMode,
        decoder: MaskDecoder,
        *,
        encode: Callable[[Array, Region], ImageEmbedding],
        refine: int = 0,
        settings: FocusSettings | None = None,
    ) -> None:
        self.mode, self.settings = mode, settings or FocusSettings()
        self._decoder, self._encode, self._refine = decoder, encode, refine

    def results(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask: bool, skip: bool
    ) -> list[Masks | None]:
        """As of ``Predictor.decode_batch``; ``None`` in the place of a prompt that was skipped."""
        looks = embedding.looks
        if self.mode == "never" or looks is None:
            decoded = self._decoder.results(embedding, prompts, multimask=multimask, skip=skip)
            first = {i: answer for i, answer in enumerate(decoded) if answer is not None}
            found = self._refined(embedding, dict(enumerate(prompts)), first, multimask=multimask)
            return [found.get(index) for index in range(len(prompts))]
        fits = enumerate(self._decoder.fitting(embedding, prompts, skip=skip))
        view = embedding.view
        usable = {i: within(prompts[i], view, seen=view) for i, fit in fits if fit}
        found = self._looked(embedding, looks, usable, multimask=multimask)
        return [found.get(index) for index in range(len(prompts))]

    def _looked(
        self,
        embedding: ImageEmbedding,
        looks: Looks[ImageEmbedding],
        usable: Mapping[int, Prompt],
        *,
        multimask: bool,
    ) -> dict[int, Masks]:
        """Answers to prompts by their keys, of what is small by a closer look."""
        view, size = embedding.view, embedding.original_size
        cut = self._decoder.mask_threshold
        known = {i: extent_of(prompt, view, threshold=cut) for i, prompt in usable.items()}
        unclear = {i: usable[i] for i, extent in known.items() if extent is None}
        found = self._answers(embedding, unclear, multimask=multimask)
        known.update({i: _extent_of_answer(usable[i], found[i]) for i in unclear})
        small = {i: e for i, e in known.items() if e is not None and self.pays(e, size)}
        for part in self._parts(small, looks):
            asked = {i: usable[i] for i in part.members}
            closer = self._closer(embedding, looks, part.region, asked, multimask=multimask)
            for i, answer in closer.items():
                found[i] = _surer(found[i], answer) if i in unclear else answer
        left = {i: usable[i] for i in known if i not in found}
        found.update(self._answers(embedding, left, multimask=multimask))
        return found

    def closer(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[int, Masks]]:
        """Answers by closer looks alone, a few in memory at a time.

        Args:
            embedding: of the whole image; it is not decoded.
            prompts: boxes, or masks, that fit the image.

        Yields:
            The place of a prompt that is worth a look and gets one, and its answer.
        """
        looks, view = embedding.looks, embedding.view
        if self.mode == "never" or looks is None:
            return
        cut, size = self._decoder.mask_threshold, view.original_size
        asked = {i: within(prompt, view, seen=view) for i, prompt in enumerate(prompts)}
        known = {i: extent_of(prompt, view, threshold=cut) for i, prompt in asked.items()}
        small = {i: e for i, e in known.items() if e is not None and self.pays(e, size)}
        length = max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))
        for part in self._parts(small, looks):
            for start in range(0, len(part.members), length):
                few = {i: asked[i] for i in part.members[start : start + length]}
                yield from self._closer(embedding, looks, part.region, few, multimask=False).items()

    def _answers(
        self, embedding: ImageEmbedding, prompts: Mapping[int, Prompt], *, multimask: bool
    ) -> dict[int, Masks]:
        """Answers to prompts by their keys, on one view of the image."""
        decoded = self._decoder.results(
            embedding, list(prompts.values()), multimask=multimask, skip=False
        )
        found = {i: a for i, a in zip(prompts, decoded, strict=True) if a is not None}
        return self._refined(embedding, prompts, found, multimask=multimask)

    def _refined(
        self,
        embedding: ImageEmbedding,
        prompts: Mapping[int, Prompt],
        found: Mapping[int, Masks],
        *,
        multimask: bool,
    ) -> dict[int, Masks]:
        """The same answers, those to boxes after they were asked about again."""
        asked = {} if multimask or not self._refine else prompts
        boxes = [i for i, p in asked.items() if i in found and p.box is not None and p.mask is None]
        answers = [found[i] for i in boxes]
        for _ in range(self._refine if boxes else 0):
            answers = self._decoder.refined(embedding, [prompts[i] for i in boxes], answers=answers)
        return {**found, **dict(zip(boxes, answers, strict=True))}

    def _closer(
        self,
        embedding: ImageEmbedding,
        looks: Looks[ImageEmbedding],
        region: Region,
        prompts: Mapping[int, Prompt],
        *,
        multimask: bool,
    ) -> dict[int, Masks]:
        """Answers by a part of the image, encoded now if it was not before."""
        start = time.perf_counter()
        near, is_new = looks.embedding(region, lambda r: self._encode(looks.pixels, r))
        share = (time.perf_counter() - start) * 1e3 / len(prompts) if is_new else 0.0
        asked = {i: within(p, near.view, seen=embedding.view) for i, p in prompts.items()}
        answers = self._answers(near, asked, multimask=multimask)
        return {
            i: _focused(answer, near.view, whole=embedding.view, cost_ms=share)
            for i, answer in answers.items()
        }

    def pays(self, extent: Extent, size: Size) -> bool:
        """Whether what is inside of a box is looked at again.

        Args:
            extent: the box.
            size: ``(height, width)`` of the image.
        """
        if self.mode == "auto" and longest_side(extent) >= self.settings.below * max(size):
            return False
        around = self.settings.around
        side = max(around.context * longest_side(extent), around.least_px)
        return zoom(square_region(extent, size, side=side), size) >= self.settings.least_zoom

    def _parts(
        self, extents: Mapping[int, Extent], looks: Looks[ImageEmbedding]
    ) -> list[SharedRegion]:
        """What to look at: parts that are there already, then as many new ones as are allowed."""
        around, size = self.settings.around, (looks.pixels.shape[0], looks.pixels.shape[1])
        there = {i: looks.showing(extent, around=around) for i, extent in extents.items()}
        parts = [SharedRegion(region, [i]) for i, region in there.items() if region is not None]
        missing = {i: extent for i, extent in extents.items() if there[i] is None}
        new = shared_regions(missing, size, around=around)
        new.sort(key=lambda part: (-len(part.members), -zoom(part.region, size)))
        if len(new) > self.settings.most_looks:
            logger.info(
                "%d parts of the image are worth a second look, and %d get one.",
                len(new),
                self.settings.most_looks,
            )
        return _merged(parts) + new[: self.settings.most_looks]


def _surer(first: Masks, closer: Masks) -> Masks:
    """Of two looks at what a click may mean the one whose best candidate is the better one.

    The closer look at a wrong first mask shows too little; predicted IoU times the root of
    stability tells them apart better than predicted IoU alone. The times are those of both.
    """
    stages = (*first.timing_ms, *closer.timing_ms)
    both = {s: first.timing_ms.get(s, 0.0) + closer.timing_ms.get(s, 0.0) for s in stages}
    return dataclasses.replace(max((first, closer), key=_quality), timing_ms=both)


def _quality(answer: Masks) -> float:
    best = int(np.argmax(answer.iou_predictions))
    stability = max(float(answer.stability_scores[best]), 0.0)
    return float(answer.iou_predictions[best]) * math.sqrt(stability)


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


def _extent_of_answer(prompt: Prompt, answer: Masks) -> Extent | None:
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


def _focused(answer: Masks, near: View, *, whole: View, cost_ms: float) -> Masks:
    """An answer about a part of the image as one about the image, and marked."""
    return dataclasses.replace(
        answer,
        low_res_logits=regridded(answer.low_res_logits, source=near, target=whole),
        timing_ms={**answer.timing_ms, "focus": cost_ms},
        focus=Focus(near.bounds, answer.low_res_logits),
    )


def _merged(parts: Iterable[SharedRegion]) -> list[SharedRegion]:
    """Parts of one region as one."""
    members: dict[Region, list[int]] = {}
    for part in parts:
        members.setdefault(part.region, []).extend(part.members)
    return [SharedRegion(region, keys) for region, keys in members.items()]
