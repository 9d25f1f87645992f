"""Prompts about one image to logits and masks, over a bundle's decoder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence

import numpy as np

from samedge.errors import BundleError, ImageError, PromptError
from samedge.files import limits
from samedge.formats.results import Masks
from samedge.pixels.frames import View
from samedge.pixels.prompts import (
    CPU_BATCH,
    Row,
    batches,
    check_prompts,
    decoder_feeds,
    rows_from_prompts,
)
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.graphs import Graphs
from samedge.types import IOU_PREDICTIONS, LOW_RES_MASKS, Array, Prompt, Role

MAX_BATCH = 64
"""Prompts in one call of the decoder; more are cut into several calls, which bounds the memory."""

FIRMER = 2.0
"""What an answer's logits are multiplied by before they are asked about again: measured a little
better than 1, and better than one half, on photos held out of training."""


class MaskDecoder:
    """The decoder of a bundle, with what its manifest says about prompts and thresholds.

    Answers that it gives have no masks before they are :meth:`drawn`, which is done once: of an
    answer to a box six others are a part that nobody sees.

    Args:
        graphs: of the bundle.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs, self._bundle = graphs, graphs.bundle
        self._manifest = graphs.bundle.manifest
        self._buckets = self._manifest.prompt_buckets

    @property
    def mask_threshold(self) -> float:
        """Logits above it are in a mask."""
        return self._manifest.thresholds.mask

    def results(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        *,
        multimask: bool,
        skip: bool,
    ) -> list[Masks | None]:
        """As of ``Predictor.decode_batch``, not drawn; ``None`` for a prompt that was skipped."""
        height, width = embedding.view.original_size
        _check_batch(prompts, pixels=height * width * (3 if multimask else 1))
        rows = self._rows(embedding, prompts, skip=skip)
        places = iter([place for place, row in enumerate(rows) if row is not None])
        results: list[Masks | None] = [None] * len(prompts)
        for logits, iou, decode_ms in self._calls(embedding, rows):
            for low_res, quality in zip(logits, iou, strict=True):
                place = next(places)
                tokens = selected_tokens(prompts[place], quality, multimask=multimask)
                results[place] = self._answer(
                    embedding.view, low_res[tokens], iou=quality[tokens], decode_ms=decode_ms
                )
        return results

    def all_logits(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> tuple[Array, Array]:
        """As of ``Predictor.decode_logits``."""
        side = self._graphs.frame.low_res_side
        _check_batch(prompts, pixels=4 * side * side)
        parts = list(self._calls(embedding, self._rows(embedding, prompts)))
        if not parts:
            return np.zeros((0, 4, side, side), np.float32), np.zeros((0, 4), np.float32)
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def refined(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, answers: Sequence[Masks]
    ) -> list[Masks]:
        """Ask again, each prompt with the logits of its answer, and take the mean of both.

        Args:
            embedding: that the answers were decoded on.
            prompts: that were asked, without masks of their own.
            answers: of one mask each.

        Returns:
            One entry an answer.
        """
        where = embedding.view.bounds
        again = [
            Prompt(p.points, p.labels, box=p.box, mask=FIRMER * a.low_res_logits[0], region=where)
            for p, a in zip(prompts, answers, strict=True)
        ]
        firsts = iter(answers)
        results = []
        for logits, iou, decode_ms in self._calls(embedding, self._rows(embedding, again)):
            for low_res, quality in zip(logits, iou, strict=True):
                first = next(firsts)
                mean = (first.low_res_logits + low_res[:1]) / 2
                both_ms = first.timing_ms["decode"] + decode_ms
                results.append(
                    self._answer(embedding.view, mean, iou=quality[:1], decode_ms=both_ms)
                )
        return results

    def mean(self, view: View, *, first: Masks, second: Masks, share: float = 0.5) -> Masks:
        """Two answers as one: of their logits, and of what the model expects of them, the mean.

        Args:
            view: that the logits of both are of.
            first: an answer of one mask.
            second: another one.
            share: that the second one has in the mean.

        Returns:
            An answer whose times are those of both.
        """
        logits = (1 - share) * first.low_res_logits + share * second.low_res_logits
        iou = (1 - share) * first.iou_predictions + share * second.iou_predictions
        made = self._answer(view, logits, iou=iou, decode_ms=0.0)
        stages = (*made.timing_ms, *first.timing_ms, *second.timing_ms)
        answers = (made, first, second)
        timing = {s: sum(a.timing_ms.get(s, 0.0) for a in answers) for s in stages}
        return dataclasses.replace(made, timing_ms=timing)

    def fitting(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, skip: bool
    ) -> list[bool]:
        """Which prompts fit the image and the bundle.

        Raises:
            PromptError: one does not, and ``skip`` is not set.
            BundleError: the embedding is from another bundle.
        """
        return [row is not None for row in self._rows(embedding, prompts, skip=skip)]

    def _rows(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, skip: bool = False
    ) -> list[Row | None]:
        """The prompts as the decoder takes them; ``None`` for one that is skipped."""
        is_own = embedding.bundle_id == self._bundle.id
        if not is_own or not embedding.view.frame.places_like(self._graphs.frame):  # in a file
            raise BundleError(
                f"The embedding was made by bundle {embedding.bundle_id!r}, and this is bundle "
                f"{self._bundle.id!r}: encode the image again with this predictor."
            )
        return rows_from_prompts(
            prompts,
            embedding.view,
            kinds=self._manifest.prompts,
            buckets=self._buckets,
            skip=skip,
        )

    def _calls(
        self, embedding: ImageEmbedding, rows: Sequence[Row | None]
    ) -> Iterator[tuple[Array, Array, float]]:
        """Low-res logits and IoU predictions of all tokens, call by call, and ms a prompt."""
        asked = [row for row in rows if row is not None]
        device = self._graphs.session(Role.DECODER).device
        limit = CPU_BATCH if device.lower() == "cpu" else MAX_BATCH
        for batch, bucket in batches(asked, buckets=self._buckets, limit=limit):
            feeds = decoder_feeds(batch, self._graphs.frame, bucket=bucket)
            start = time.perf_counter()
            outputs = self._graphs.run(Role.DECODER, {**feeds, **embedding.tensors})
            decode_ms = (time.perf_counter() - start) * 1e3 / len(batch)
            iou = outputs[IOU_PREDICTIONS][: len(batch)]
            self._graphs.check_finite(Role.DECODER, {IOU_PREDICTIONS: iou})
            yield outputs[LOW_RES_MASKS][: len(batch)], iou, decode_ms

    def drawn(self, answer: Masks, view: View) -> Masks:
        """An answer with its masks, in the original image's frame.

        Args:
            answer: as it was decoded.
            view: that its logits are of.
        """
        start = time.perf_counter()
        masks = view.masks(answer.low_res_logits, threshold=self._manifest.thresholds.mask)
        ms = answer.timing_ms["postprocess"] + (time.perf_counter() - start) * 1e3
        timing = {**answer.timing_ms, "postprocess": ms}
        return dataclasses.replace(answer, masks=masks, timing_ms=timing)

    def _answer(self, view: View, logits: Array, *, iou: Array, decode_ms: float) -> Masks:
        """The answer to one prompt from the logits of its chosen tokens, not drawn."""
        self._graphs.check_finite(Role.DECODER, {LOW_RES_MASKS: logits})
        stability = view.stability(logits, offset=self._manifest.thresholds.stability_offset)
        timing = {"decode": decode_ms, "postprocess": 0.0}
        active = self._graphs.active(Role.DECODER)
        return Masks(
            np.zeros((len(logits), 0, 0), np.bool_), iou, logits, stability, active, timing
        )


def check_asked(embedding: object, prompts: object) -> None:
    """Refuse what is no embedding, and what are no prompts, as what they are.

    Raises:
        ImageError: the embedding is something else, such as the image itself.
        PromptError: the prompts are no sequence of them.
    """
    if not isinstance(embedding, ImageEmbedding):
        raise ImageError(
            f"The embedding is a {type(embedding).__name__}, expected what predictor.encode(image) "
            "gives; predictor.predict(image, prompt) encodes and decodes."
        )
    check_prompts(prompts)


def _check_batch(prompts: Sequence[Prompt], *, pixels: int) -> None:
    """Refuse a batch whose masks would not fit a memory, before any is taken.

    Args:
        prompts: of one call.
        pixels: that each of them gives.

    Raises:
        PromptError: more prompts, or more pixels, than the limits allow.
    """
    limits.check(len(prompts), "prompts", what="The batch", error=PromptError)
    what = f"What a batch of {len(prompts)} prompts gives"
    limits.check(len(prompts) * pixels, "batch_pixels", what=what, error=PromptError)


def selected_tokens(prompt: Prompt, iou: Array, *, multimask: bool) -> list[int]:
    """SAM's rule: three candidates where one click leaves open what is meant."""
    if multimask:
        return [1, 2, 3]
    return [1 + int(np.argmax(iou[1:]))] if prompt.is_ambiguous else [0]
