"""Files against their reference, through the runtime that users will run.

The reference is the model in torch when files are exported, and the fp32 bundle when a precision
plan is looked for. Measured on photos, over every kind of prompt
(:mod:`samedge.proof.probes`). The subject is a :class:`~samedge.predict.predictor.Predictor` over
the very files, decoding all prompts of a photo in one padded batch, and in every fixed shape that
it has; the reference decodes each prompt alone, so that what differs by batching shows too. All
four masks of a prompt are compared, on the low-res grid, inside the photo.

Whether a file computes its model is a matter of numbers, in units of what the model itself means:

* ``embedding_cosine``: cosine similarity of the embeddings, each less the mean of the reference's
  embeddings over all photos. Without that a blind encoder would pass, because much of an embedding
  is the same for every photo.
* ``logit_error``: RMS difference of a mask's logits over their spread in the reference. It speaks
  where masks are silent: with random weights they may be empty or full. It is taken for the whole,
  and for the decoder alone, which is given the bundle's own embeddings: an encoder's rounding does
  not hide a decoder's fault.
* ``decided_iou``: IoU of the masks where the reference is decided, its logits not near 0. Rounding
  turns what is near 0; a fault turns the rest as well. Each mask weighs what it is stable; one that
  covers under a thousandth of the photo on both sides weighs nothing: a pixel is a tenth of it.
* ``quality_error``: mean difference of the predicted IoUs. Where that exchanges the best of the
  three candidates of a click, it is counted: as a near tie if the reference hardly prefers one.

The plain IoU of the masks stands in the record, for people; random prompts ask for many masks that
mean nothing, whose edge lies anywhere, so that no limit hangs on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from samedge.bundle.canary import Graphs
from samedge.bundle.manifest import ParityRecord
from samedge.errors import ExportError, ParityError
from samedge.pixels.frames import Frame
from samedge.pixels.metrics import embedding_cosines
from samedge.pixels.prompts import feeds_of
from samedge.predict.predictor import Predictor
from samedge.proof.decision import TIE, GraphLimits, Limits
from samedge.proof.probes import Probe, feedback_probes, probes
from samedge.types import IMAGE, IOU_PREDICTIONS, LOW_RES_MASKS, Array, Progress, Role, Steps


class ReferenceGraphs(Graphs, Protocol):
    """What files are compared with, asked like a bundle's graphs.

    Attributes:
        frame: how images get into it.
    """

    frame: Frame


ADVICE = "The exported graphs do not compute what the model computes, and no bundle was written."
"""What it means that an export fails here."""

SMALLEST = 0.001
"""Of the photo: a mask that covers less on both sides is not compared by its IoU."""

Tensors = Mapping[str, Array]
"""Outputs of an encoder by name."""


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One prompt.

    Attributes:
        kind: of the prompt.
        ious: (4,) plain IoU of the masks.
        decided: (4,) the same where the reference is decided; 1 for a mask of hardly any pixel.
        weights: (4,) stability of the reference's masks; 0 for a mask of hardly any pixel.
        logit_error: of its four masks together, over their spread.
        quality_error: mean difference of the four predicted IoUs.
        preferred: for a click by how much the reference prefers its best candidate, if the other
            side chose another one; else ``None``.
    """

    kind: str
    ious: Array
    decided: Array
    weights: Array
    logit_error: float
    quality_error: float
    preferred: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Parity:
    """What was measured, and what it must keep to.

    Attributes:
        photos: how many.
        rows: one a prompt, from picture to logits.
        decoder: one a prompt, the decoder alone.
        cosines: one a photo.
        limits: of the bundle.
    """

    photos: int
    rows: tuple[Row, ...]
    decoder: tuple[Row, ...]
    cosines: tuple[float, ...]
    limits: GraphLimits

    def kinds(self) -> tuple[tuple[str, int, float, float, float], ...]:
        """Kind of prompt, prompts, mean and 5th percentile of the IoU, decided IoU; worst first."""
        table = []
        for kind in sorted({row.kind for row in self.rows}):
            own = [row for row in self.rows if row.kind == kind]
            ious = np.concatenate([row.ious for row in own])
            figures = float(ious.mean()), float(np.percentile(ious, 5)), _decided_mean(own)
            table.append((kind, len(own), *figures))
        return tuple(sorted(table, key=lambda row: row[2]))

    @property
    def flips(self) -> tuple[int, int]:
        """Clicks whose best candidate is another one: near ties, and others."""
        gaps = [row.preferred for row in self.rows if row.preferred is not None]
        near = sum(gap <= TIE for gap in gaps)
        return near, len(gaps) - near

    @property
    def passed(self) -> bool:
        """Whether every figure keeps to its limit."""
        return all(measured >= limit for _, measured, limit in self.figures())

    def record(self) -> ParityRecord:
        """What the manifest keeps."""
        ious = np.concatenate([row.ious for row in self.rows])
        near, wrong = self.flips
        return ParityRecord(
            images=self.photos,
            prompts=len(self.rows),
            mask_iou_mean=float(ious.mean()),
            mask_iou_p05=float(np.percentile(ious, 5)),
            embedding_cosine_min=min(self.cosines),
            logit_error=_logit_error(self.rows),
            passed=self.passed,
            gate=dataclasses.asdict(self.limits.whole),
            decided_iou_mean=_decided_mean(self.rows),
            decided_iou_p05=_decided_p05(self.rows),
            decoder_error=_logit_error(self.decoder),
            quality_error=_quality_error(self.rows),
            near_ties=near,
            wrong_choices=wrong,
        )

    def check(self, *, advice: str = ADVICE) -> None:
        """Hold the figures against the limits.

        Args:
            advice: what it means, and what to do.

        Raises:
            ParityError: the first figure that is past its limit, the embedding's first.
        """
        for tensor, measured, limit in self.figures():
            if not measured >= limit:  # NaN fails too
                raise ParityError(tensor, measured, limit, advice)

    def figures(self) -> Iterator[tuple[str, float, float]]:
        """Every figure that has a limit, as ``(name, measured, lowest)``."""
        yield "image_embeddings (cosine)", min(self.cosines), self.limits.encoder.embedding_cosine
        yield from _logit_figures("decoder alone: ", self.decoder, self.limits.decoder)
        yield from _logit_figures("", self.rows, self.limits.whole)


def _logit_figures(
    where: str, rows: Sequence[Row], limits: Limits
) -> Iterator[tuple[str, float, float]]:
    masks = f"{where}low_res_masks"
    worst, lowest = _worst_kind(rows)
    yield f"{masks} (1 - logit error over spread)", 1.0 - _logit_error(rows), 1 - limits.logit_error
    yield f"{masks} (mean decided mask IoU)", _decided_mean(rows), limits.mask_iou_mean
    yield (
        f"{masks} (5th percentile of decided mask IoU)",
        _decided_p05(rows),
        limits.mask_iou_p05,
    )
    yield f"{masks} (mean decided IoU of {worst} prompts)", lowest, limits.mask_iou_p05
    yield (
        f"{where}iou_predictions (1 - mean error)",
        1.0 - _quality_error(rows),
        1.0 - limits.quality_error,
    )


def _logit_error(rows: Sequence[Row]) -> float:
    """Median over the prompts of a kind, of the worst kind."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row.kind, []).append(row.logit_error)
    return float(np.max([np.median(errors) for errors in groups.values()]))


def _quality_error(rows: Sequence[Row]) -> float:
    return float(np.mean([row.quality_error for row in rows]))


def _decided_mean(rows: Sequence[Row]) -> float:
    """Mean decided IoU, each mask weighted by its stability; plain where none is stable."""
    weights = np.concatenate([row.weights for row in rows])
    decided = np.concatenate([row.decided for row in rows])
    return float(np.average(decided, weights=weights if weights.sum() > 0 else None))


def _decided_p05(rows: Sequence[Row]) -> float:
    return float(np.percentile(np.concatenate([row.decided for row in rows]), 5))


def _worst_kind(rows: Sequence[Row]) -> tuple[str, float]:
    """The kind of prompt whose masks differ most, and its mean decided IoU."""
    kinds = sorted({row.kind for row in rows})
    means = {kind: _decided_mean([row for row in rows if row.kind == kind]) for kind in kinds}
    worst = min(kinds, key=lambda kind: means[kind])
    return worst, means[worst]


def measure(
    reference: ReferenceGraphs,
    subject: Predictor,
    *,
    photos: Sequence[Array],
    limits: GraphLimits,
    progress: Progress | None = None,
) -> Parity:
    """Compare a bundle with what it was made of.

    Args:
        reference: the model, or the fp32 bundle.
        subject: the bundle, opened.
        photos: (H, W, 3) uint8 RGB, at least two that differ.
        limits: of the bundle, as of :func:`samedge.proof.decision.limits_of`.
        progress: hears of every photo.

    Raises:
        ExportError: fewer than two photos.
    """
    if len(photos) < 2:
        raise ExportError(
            f"Parity was to be measured on {len(photos)} photos, expected at least 2 that differ: "
            "a graph that is blind to its input cannot be told by one."
        )
    rows: list[Row] = []
    alone: list[Row] = []
    wanted: list[Tensors] = []
    given: list[Tensors] = []
    steps = Steps(len(photos), progress=progress)
    lengths = sorted({length for _, length in subject.manifest.prompt_buckets})
    for photo in photos:
        asked = _Questions(reference, photo, lengths=lengths)
        embedding = subject.encode(photo)
        wanted.append(asked.embedding)
        given.append(embedding.tensors)
        # One batch pads the shorter prompts; each kind's first prompt is asked alone as well.
        batch = subject.decode_logits(embedding, [probe.prompt for probe in asked.probes])
        rows += asked.compared(asked.expected, batch, margin=limits.whole.margin)
        first = _first_of_each_kind(asked.probes)
        single = [subject.decode_logits(embedding, [asked.probes[i].prompt]) for i in first]
        answers = np.concatenate([s[0] for s in single]), np.concatenate([s[1] for s in single])
        rows += asked.compared(asked.expected, answers, margin=limits.whole.margin, only=first)
        own = asked.answers(given[-1])
        alone += asked.compared(own, batch, margin=limits.decoder.margin)
        steps.step()
    return Parity(len(photos), tuple(rows), tuple(alone), _cosines(wanted, given), limits)


def _cosines(wanted: Sequence[Tensors], given: Sequence[Tensors]) -> tuple[float, ...]:
    """The lowest similarity of any of an embedding's tensors, for each photo."""
    names = wanted[0].keys()
    stacks = (
        [np.stack([one[name] for one in found]) for found in (wanted, given)] for name in names
    )
    return tuple(map(min, zip(*(embedding_cosines(a, b) for a, b in stacks), strict=True)))


Answers = tuple[Array, Array]
"""Logits (B, 4, S/4, S/4) and predicted IoUs (B, 4)."""


class _Questions:
    """Prompts about a photo, those that continue earlier masks too, and the reference's answers."""

    def __init__(self, reference: ReferenceGraphs, photo: Array, *, lengths: Sequence[int]) -> None:
        self._reference = reference
        self._view = reference.frame.view_of(photo)
        self.embedding: Tensors = reference.run(
            Role.ENCODER, {IMAGE: self._view.encoder_input(photo)}
        )
        asked = probes(self._view.original_size, lengths=lengths)
        first = self._answers(self.embedding, asked)
        more = feedback_probes(self._view, asked, expected=list(first[0]))
        rest = self._answers(self.embedding, more)
        self.probes = asked + more
        self.expected: Answers = (
            np.concatenate([first[0], rest[0]]),
            np.concatenate([first[1], rest[1]]),
        )

    def answers(self, embedding: Tensors) -> Answers:
        """What the reference's decoder says of another embedding of the photo."""
        return self._answers(embedding, self.probes)

    def _answers(self, embedding: Tensors, asked: Sequence[Probe]) -> Answers:
        found = [
            self._reference.run(Role.DECODER, {**feeds_of([probe.prompt], self._view), **embedding})
            for probe in asked
        ]
        masks = [np.asarray(answer[LOW_RES_MASKS][0]) for answer in found]
        return np.stack(masks), np.stack([answer[IOU_PREDICTIONS][0] for answer in found])

    def compared(
        self, expected: Answers, given: Answers, *, margin: float, only: Sequence[int] | None = None
    ) -> list[Row]:
        """One row a prompt, or a prompt of ``only``, to which alone ``given`` answers."""
        height, width = self._view.low_res_size
        window = np.s_[:, :height, :width]
        chosen = range(len(self.probes)) if only is None else only
        return [
            _row(
                self.probes[index],
                (expected[0][index][window], expected[1][index]),
                (given[0][place][window], given[1][place]),
                margin=margin,
            )
            for place, index in enumerate(chosen)
        ]


def _first_of_each_kind(asked: Sequence[Probe]) -> list[int]:
    first: dict[str, int] = {}
    for index, probe in enumerate(asked):
        first.setdefault(probe.kind, index)
    return sorted(first.values())


def _row(probe: Probe, expected: Answers, given: Answers, *, margin: float) -> Row:
    a, b = expected[0].astype(np.float64), given[0].astype(np.float64)
    spread = np.maximum(a.std(axis=(1, 2), keepdims=True), 1e-12)  # (4, 1, 1)
    near = margin * spread
    decided = np.abs(a) > near
    sure, possible = (np.count_nonzero(a > edge, axis=(1, 2)) for edge in (near, -near))
    error = float(np.sqrt(np.mean(np.square((a - b) / spread))))
    theirs, ours = (a > 0) & decided, (b > 0) & decided
    tells = (theirs | ours).mean(axis=(1, 2)) >= SMALLEST
    return Row(
        kind=probe.kind,
        ious=_iou(a > 0, b > 0),
        decided=np.where(tells, _iou(theirs, ours), 1.0),
        weights=np.where(tells, sure / np.maximum(possible, 1), 0.0),
        logit_error=error,
        quality_error=float(np.mean(np.abs(expected[1] - given[1]))),
        preferred=_preference(expected[1], given[1]) if probe.prompt.is_ambiguous else None,
    )


def _preference(expected: Array, given: Array) -> float | None:
    """By how much the reference prefers its best candidate, where the other side has another."""
    best = int(np.argmax(expected[1:]))
    if int(np.argmax(given[1:])) == best:
        return None
    ranked = np.sort(expected[1:])
    return float(ranked[-1] - ranked[-2])


def _iou(a: Array, b: Array) -> Array:
    """IoU of (M, h, w) bool masks, pair by pair; two empty masks agree."""
    both = np.count_nonzero(a & b, axis=(1, 2))
    either = np.count_nonzero(a | b, axis=(1, 2))
    return np.asarray(np.where(either == 0, 1.0, both / np.maximum(either, 1)))
