"""A second look: what is small in the image is encoded again, larger, and decided there.

An encoder sees an image at one size, and a thing of twenty pixels is two places of its embedding.
So the part of the image around what a prompt is about is encoded again at the model's full input
size, the prompt is decoded on that, and the mask is put back into the image. It costs one encode a
part, neighbours share a part, and no call makes more than :attr:`FocusSettings.most_looks`.

A box gets two looks, and the mean of their answers counts: the part around it and a wider one of
the mirrored image, beside which the whole image has a small say; a medium box the whole image and
a mirrored part. On each look it is decoded twice, the second time with the logits of its first
answer, and again their mean counts: one more decode, for large things, too. A click alone is
decoded on the whole image and on the part around its first mask, and the surer of the two looks
counts.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from samedge.errors import OptionError, UnknownNameError
from samedge.formats.results import Masks
from samedge.pixels.frames import View
from samedge.pixels.regridding import regridded
from samedge.predict.decoding import MaskDecoder
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.focus_plan import FocusPlan, FocusSettings, Part
from samedge.predict.focus_prompts import (
    extent_of,
    extent_of_answer,
    is_plain_box,
    mirrored_prompt,
    mirrored_region,
    within,
)
from samedge.predict.looks import Looks
from samedge.types import Array, Focus, Prompt, Region, Size

__all__ = ["FOCUS_MODES", "FocusMode", "FocusSettings", "SecondLook"]

FocusMode = Literal["auto", "never", "always"]
FOCUS_MODES: tuple[FocusMode, ...] = ("auto", "never", "always")

MOST_ROUNDS = 8
"""A prompt is asked again so many times at most."""

_PIXELS_AT_ONCE = 1 << 25
"""Of masks that closer looks hold together where their answers are taken one by one."""


def checked_rounds(refine: object, *, mode: FocusMode, kinds: Sequence[str]) -> int:
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
    if not isinstance(refine, int) or not 0 <= refine <= MOST_ROUNDS:
        raise OptionError(f"refine is {refine!r}, expected a number from 0 to {MOST_ROUNDS}.")
    if refine and "mask" not in kinds:
        raise OptionError(
            f"refine is {refine}, and the model understands {', '.join(kinds)}: it takes no mask "
            "to go on from. Leave refine out, or use another bundle."
        )
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
            found = self._drawn(found, embedding.view)
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
        cut, plan = self._decoder.mask_threshold, self._plan(size)
        known = {i: extent_of(prompt, view, threshold=cut) for i, prompt in usable.items()}
        unclear = {i: usable[i] for i, extent in known.items() if extent is None}
        found = self._drawn(self._answers(embedding, unclear, multimask=multimask), view)
        known.update({i: extent_of_answer(usable[i], found[i]) for i in unclear})
        small = {i: e for i, e in known.items() if e is not None and plan.pays(e)}
        boxes = {i for i, p in usable.items() if is_plain_box(p) and not multimask}
        share = self.settings.whole
        for part in plan.parts(small, looks, boxes=boxes):
            asked = {i: usable[i] for i in part.members}
            closer = self._closer(
                embedding, looks, part, prompts=asked, multimask=multimask, share=share
            )
            for i, answer in closer.items():
                found[i] = _surer(found[i], answer) if i in unclear else answer
        rest = {i: usable[i] for i in known if i not in found}
        left = self._answers(embedding, rest, multimask=multimask)
        medium = {i: e for i, e in known.items() if e is not None and i in boxes & rest.keys()}
        for part in plan.medium_parts(medium):
            answers = {i: left[i] for i in part.members}
            both = self._averaged(looks, part, prompts=usable, answers=answers, seen=view)
            near = view.frame.view(size, region=part.region)
            drawn = self._drawn(both, near)
            found.update({i: _focused(a, near, whole=view) for i, a in drawn.items()})
        return {**self._drawn({i: a for i, a in left.items() if i not in found}, view), **found}

    def _drawn(self, answers: Mapping[int, Masks], view: View) -> dict[int, Masks]:
        """The same answers, whose logits are of a view, with their masks."""
        return {i: self._decoder.drawn(answer, view) for i, answer in answers.items()}

    def closer(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[int, Masks]]:
        """Answers by closer looks alone, a few in memory at a time, as everything mode asks.

        Args:
            embedding: of the whole image; it is not decoded.
            prompts: boxes, or masks.

        Yields:
            The place of a prompt that is worth a look and gets one, and its answer.

        Raises:
            PromptError: a prompt does not fit the image or the bundle.
            BundleError: the embedding is from another bundle.
        """
        self._decoder.fitting(embedding, prompts, skip=False)
        looks, view = embedding.looks, embedding.view
        if self.mode == "never" or looks is None:
            return
        cut, size = self._decoder.mask_threshold, view.original_size
        asked = {i: within(prompt, view, seen=view) for i, prompt in enumerate(prompts)}
        known = {i: extent_of(prompt, view, threshold=cut) for i, prompt in asked.items()}
        plan = self._plan(size, self.settings.most_unasked)
        small = {i: e for i, e in known.items() if e is not None and plan.pays(e)}
        boxes = {i for i, p in asked.items() if is_plain_box(p)}
        length = max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))
        for part in plan.parts(small, looks, boxes=boxes):
            for start in range(0, len(part.members), length):
                few = {i: asked[i] for i in part.members[start : start + length]}
                closer = self._closer(embedding, looks, part, prompts=few, multimask=False)
                yield from closer.items()

    def _plan(self, size: Size, most: int | None = None) -> FocusPlan:
        return FocusPlan(self.settings, size, always=self.mode == "always", most=most)

    def _answers(
        self, embedding: ImageEmbedding, prompts: Mapping[int, Prompt], *, multimask: bool
    ) -> dict[int, Masks]:
        """Answers to prompts by their keys, on one view of the image, not drawn."""
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
        boxes = [i for i, p in asked.items() if i in found and is_plain_box(p)]
        answers = [found[i] for i in boxes]
        for _ in range(self._refine if boxes else 0):
            answers = self._decoder.refined(embedding, [prompts[i] for i in boxes], answers=answers)
        return {**found, **dict(zip(boxes, answers, strict=True))}

    def _closer(
        self,
        embedding: ImageEmbedding,
        looks: Looks[ImageEmbedding],
        part: Part,
        *,
        prompts: Mapping[int, Prompt],
        multimask: bool,
        share: float = 0.0,
    ) -> dict[int, Masks]:
        """Answers by a part of the image, encoded now if it was not before.

        In those to boxes the whole image has a ``share``.
        """
        start = time.perf_counter()
        near, is_new = looks.embedding(part.region, self._encode, mirrored=False)
        cost_ms = (time.perf_counter() - start) * 1e3 / len(prompts) if is_new else 0.0
        asked = {i: within(p, near.view, seen=embedding.view) for i, p in prompts.items()}
        answers = _with_cost(self._answers(near, asked, multimask=multimask), cost_ms)
        if part.mirrored is not None:
            boxes = {i: answers[i] for i, p in prompts.items() if is_plain_box(p)}
            answers.update(
                self._averaged(looks, part, prompts=prompts, answers=boxes, seen=near.view)
            )
        if share and not multimask:
            plain = {i: p for i, p in prompts.items() if is_plain_box(p)}
            answers.update(self._with_whole(embedding, near.view, plain, answers, share=share))
        drawn = self._drawn(answers, near.view)
        return {i: _focused(a, near.view, whole=embedding.view) for i, a in drawn.items()}

    def _with_whole(
        self,
        embedding: ImageEmbedding,
        near: View,
        boxes: Mapping[int, Prompt],
        answers: Mapping[int, Masks],
        *,
        share: float,
    ) -> dict[int, Masks]:
        """Answers by a part to boxes, in which the whole image's have a share; asked once."""
        asked = list(boxes.values())
        decoded = self._decoder.results(embedding, asked, multimask=False, skip=False)
        means = {}
        for i, whole in zip(boxes, decoded, strict=True):
            if whole is not None:
                first = _moved(whole, source=embedding.view, target=near)
                means[i] = self._decoder.mean(near, first=answers[i], second=first, share=share)
        return means

    def _averaged(
        self,
        looks: Looks[ImageEmbedding],
        part: Part,
        *,
        prompts: Mapping[int, Prompt],
        answers: Mapping[int, Masks],
        seen: View,
    ) -> dict[int, Masks]:
        """The means of answers to boxes and those of the part's mirrored look, about the part.

        Args:
            looks: of the image.
            part: with a mirrored look.
            prompts: about the image; those that have an answer are asked.
            answers: of another look.
            seen: what that look showed.
        """
        if part.mirrored is None or not answers:
            return dict(answers)
        width = seen.original_size[1]
        start = time.perf_counter()
        region = mirrored_region(part.mirrored, width)
        other, is_new = looks.embedding(region, self._encode, mirrored=True)
        cost_ms = (time.perf_counter() - start) * 1e3 / len(answers) if is_new else 0.0
        target = seen.frame.view(seen.original_size, region=part.region)
        asked = {i: mirrored_prompt(prompts[i], width) for i in answers}
        asked = {i: within(p, other.view, seen=other.view) for i, p in asked.items()}
        seconds = self._answers(other, asked, multimask=False)
        means = {}
        for i, second in _with_cost(seconds, cost_ms).items():
            first = answers[i]
            if seen != target:
                first = _moved(first, source=seen, target=target)
            second = _moved(second, source=other.view, target=target, mirrored=True)
            means[i] = self._decoder.mean(target, first=first, second=second)
        return means


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


def _with_cost(answers: Mapping[int, Masks], cost_ms: float) -> dict[int, Masks]:
    """The same answers, each with its share of what encoding a part took."""
    return {
        i: dataclasses.replace(answer, timing_ms={**answer.timing_ms, "focus": cost_ms})
        for i, answer in answers.items()
    }


def _moved(answer: Masks, *, source: View, target: View, mirrored: bool = False) -> Masks:
    """An answer whose logits are those of another view."""
    logits = regridded(answer.low_res_logits, source=source, target=target, mirrored=mirrored)
    return dataclasses.replace(answer, low_res_logits=logits)


def _focused(answer: Masks, near: View, *, whole: View) -> Masks:
    """An answer about a part of the image as one about the image, and marked."""
    moved = _moved(answer, source=near, target=whole)
    return dataclasses.replace(moved, focus=Focus(near.bounds, answer.low_res_logits))
