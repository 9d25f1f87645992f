"""The prompt protocols of the accuracy measurement: a box, a click, or clicks that correct.

docs/accuracy-protocol.md has the rules. Clicks are simulated on the ground truth at the original
size; from the second click on, the logits of the last answer go along as mask prompt, as in the
interactive evaluation of "Segment Anything" (Kirillov et al., 2023).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from samedge.errors import PromptError, UnknownNameError
from samedge.evaluation.ground_truth import Instance
from samedge.formats.results import Masks
from samedge.pixels import metrics, rle
from samedge.records import InstanceScore
from samedge.types import Array, Prompt, Region


@dataclasses.dataclass(frozen=True)
class PromptProtocol:
    """How instances are prompted.

    Attributes:
        name: ``box``, ``center`` or ``clicks:N``.
        clicks: simulated clicks; 0 for a box.
    """

    name: str
    clicks: int


_KNOWN = ("box", "center", "clicks:N")


def parse_protocols(text: str, *, beside: Sequence[str] = ()) -> tuple[PromptProtocol, ...]:
    """Read ``box,center,clicks:N``.

    Args:
        text: the names, separated by commas.
        beside: what else could have been named there, for the message.

    Raises:
        UnknownNameError: neither of the three.
        PromptError: N is not a number of at least 1, or nothing is named.
    """
    names = dict.fromkeys(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise PromptError("No prompt protocol is named: expected box, center or clicks:N.")
    return tuple(_protocol(name, beside) for name in names)


def _protocol(name: str, beside: Sequence[str]) -> PromptProtocol:
    if name in ("box", "center"):
        return PromptProtocol(name, int(name == "center"))
    kind, _, count = name.partition(":")
    if kind != "clicks":
        raise UnknownNameError("prompt protocol", name, (*_KNOWN, *beside))
    if not count.isdecimal() or int(count) < 1:
        raise PromptError(
            f"{name!r} does not say how many clicks: expected a number of at least 1, such as "
            "clicks:3."
        )
    return PromptProtocol(name, int(count))


class Answer:
    """What a subject drew for one instance so far, and how good it is."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.points: list[tuple[int, int]] = []
        self.labels: list[int] = []
        self.ious: list[float] = []
        self.oracle: float | None = None
        self.mask = np.zeros(instance.mask.shape, np.bool_)
        self.predicted_iou = 0.0
        self._logits: Array | None = None
        self._region: Region | None = None

    def take(self, result: Masks) -> None:
        """Keep the mask of the highest predicted IoU."""
        best = int(np.argmax(result.iou_predictions))
        self.mask, self._logits = result.masks[best], result.low_res_logits[best]
        if result.focus is not None:
            self._logits, self._region = result.focus.low_res_logits[best], result.focus.region
        else:
            self._region = None
        self.predicted_iou = float(result.iou_predictions[best])
        ious = [metrics.mask_iou(self.instance.mask, mask) for mask in result.masks]
        self.oracle = max(ious) if len(ious) > 1 else None
        self.ious.append(ious[best])

    def click(self) -> Prompt | None:
        """One more click; the last logits go with it. ``None`` when there is nothing to correct."""
        if self._logits is None:
            where: tuple[int, int, int] | None = (*self.instance.center, 1)
        else:
            where = metrics.corrective_click(self.instance.mask, self.mask)
        if where is None:
            return None
        self.points.append(where[:2])
        self.labels.append(where[2])
        return Prompt(
            points=self.points, labels=self.labels, mask=self._logits, region=self._region
        )

    def rest(self) -> None:
        """A click that was not needed: the mask stays as it is."""
        self.ious.append(self.ious[-1])
        self.oracle = None

    def score(self, image_name: str) -> InstanceScore:
        """The measures of the answer as it stands."""
        truth = self.instance
        return InstanceScore(
            image=image_name,
            annotation_id=truth.annotation_id,
            area=truth.area,
            iou=self.ious[-1],
            boundary_iou=metrics.mask_iou(truth.boundary, metrics.boundary(self.mask)),
            oracle_iou=self.oracle,
            predicted_iou=self.predicted_iou,
            ious_by_click=list(self.ious) if self.points else None,
            rle=rle.rle_from_mask(self.mask),
        )


Decode = Callable[..., list[Masks]]


def answers(
    decode: Decode, instances: Sequence[Instance], *, protocols: Sequence[PromptProtocol]
) -> Iterator[tuple[str, Answer]]:
    """Prompt every instance by every protocol; those that click share their first clicks.

    Args:
        decode: a segmenter's ``decode_batch`` with the embedding already given.
        instances: of one image.
        protocols: from ``parse_protocols``.

    Yields:
        The protocol's name and an answer, which changes with the next click: score it at once.
    """
    for protocol in protocols:
        if not protocol.clicks:
            answers = [Answer(instance) for instance in instances]
            prompts = [Prompt(box=instance.box) for instance in instances]
            for answer, result in zip(answers, decode(prompts), strict=True):
                answer.take(result)
                yield protocol.name, answer
    answers = [Answer(instance) for instance in instances]
    for step in range(1, max((p.clicks for p in protocols), default=0) + 1):
        _click_once(decode, answers, ambiguous=step == 1)
        for protocol in protocols:
            if protocol.clicks == step:
                yield from ((protocol.name, answer) for answer in answers)


def _click_once(decode: Decode, answers: Sequence[Answer], *, ambiguous: bool) -> None:
    clicks = [(answer, answer.click()) for answer in answers]
    open_ = [(answer, prompt) for answer, prompt in clicks if prompt is not None]
    results = decode([prompt for _, prompt in open_], multimask=ambiguous) if open_ else []
    for (answer, _), result in zip(open_, results, strict=True):
        answer.take(result)
    for answer, prompt in clicks:
        if prompt is None:
            answer.rest()
