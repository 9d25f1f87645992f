"""Files against their reference, through the runtime that users will run.

The reference is the model in torch when files are exported, and the fp32 bundle when a precision
plan is looked for. Measured on photos, over every kind of prompt
(:mod:`samedge.proof.probes`). The candidate is a :class:`~samedge.predict.predictor.Predictor` over
the very files, decoding all prompts of a photo in one padded batch; the reference decodes each
prompt alone, so that what differs by batching shows too. All four masks of a prompt are compared,
on the low-res grid, inside the photo.

Three figures are taken:

* ``mask_iou``: IoU of the masks (logits above 0); two empty masks agree.
* ``embedding_cosine``: cosine similarity of the embeddings, each less the mean of the reference's
  embeddings over all photos. Without that a blind encoder would pass, because much of an embedding
  is the same for every photo.
* ``logit_error``: RMS difference of a prompt's logits over the RMS of the reference's. It speaks
  where masks are silent: with random weights they may be empty or full.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from samedge.bundle.canary import Graphs
from samedge.bundle.manifest import ParityRecord
from samedge.errors import ExportError, ParityError
from samedge.pixels.frames import Frame, View
from samedge.pixels.metrics import embedding_cosines
from samedge.pixels.prompts import feeds_of
from samedge.predict.predictor import Predictor
from samedge.proof.probes import Probe, feedback_probes, probes
from samedge.types import IMAGE, LOW_RES_MASKS, Array, Precision, Prompt, Role


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """Limits that an export must keep.

    Attributes:
        mask_iou_mean: lowest mean IoU over all masks.
        mask_iou_p05: lowest 5th percentile, and lowest mean of any one kind of prompt.
        embedding_cosine: lowest similarity of any photo's embedding.
        logit_error: highest relative error of the logits: of the worst kind of prompt, the median.
    """

    mask_iou_mean: float
    mask_iou_p05: float
    embedding_cosine: float
    logit_error: float


GATES: Mapping[Precision, Gate] = {
    # Rounding alone: what is left is pixels whose logit is zero to six digits.
    Precision.FP32: Gate(
        mask_iou_mean=0.999, mask_iou_p05=0.99, embedding_cosine=0.9999, logit_error=0.002
    ),
    Precision.FP16: Gate(
        mask_iou_mean=0.99, mask_iou_p05=0.95, embedding_cosine=0.999, logit_error=0.03
    ),
    Precision.BF16: Gate(
        mask_iou_mean=0.97, mask_iou_p05=0.9, embedding_cosine=0.99, logit_error=0.1
    ),
}
_QUANTIZED = Gate(mask_iou_mean=0.93, mask_iou_p05=0.75, embedding_cosine=0.95, logit_error=0.25)
"""For every other precision: whether a graph is the right one. How accurate it still is, is asked
by the accuracy gate on ground truth."""


def gate(precision: Precision, *, max_drop: float | None = None) -> Gate:
    """Limits for a precision.

    Args:
        precision: what the artifacts compute in.
        max_drop: lower the limit of the mean IoU, or raise it, to ``1 - max_drop``.
    """
    limits = GATES.get(precision, _QUANTIZED)
    if max_drop is None:
        return limits
    return dataclasses.replace(limits, mask_iou_mean=1.0 - max_drop)


@dataclasses.dataclass(frozen=True, eq=False)
class _Row:
    kind: str
    ious: Array  # (4,)
    logit_error: float


@dataclasses.dataclass(frozen=True, eq=False)
class Parity:
    """What was measured.

    Attributes:
        photos: how many.
        rows: one a prompt.
        cosines: one a photo.
    """

    photos: int
    rows: tuple[_Row, ...]
    cosines: tuple[float, ...]

    @property
    def ious(self) -> Array:
        """IoU of every mask."""
        return np.concatenate([row.ious for row in self.rows])

    @property
    def logit_error(self) -> float:
        """Median over the prompts of a kind, of the worst kind."""
        groups: dict[str, list[float]] = {}
        for row in self.rows:
            groups.setdefault(row.kind, []).append(row.logit_error)
        return float(np.max([np.median(errors) for errors in groups.values()]))

    def kinds(self) -> tuple[tuple[str, int, float, float], ...]:
        """Kind of prompt, prompts, mean and 5th percentile of the mask IoU; worst first."""
        names = sorted({row.kind for row in self.rows})
        groups = {n: [row.ious for row in self.rows if row.kind == n] for n in names}
        table = [
            (name, len(ious), float(np.mean(ious)), float(np.percentile(ious, 5)))
            for name, ious in groups.items()
        ]
        return tuple(sorted(table, key=lambda row: row[2]))

    def record(self, limits: Gate, *, passed: bool) -> ParityRecord:
        """What the manifest keeps."""
        return ParityRecord(
            images=self.photos,
            prompts=len(self.rows),
            mask_iou_mean=float(self.ious.mean()),
            mask_iou_p05=float(np.percentile(self.ious, 5)),
            embedding_cosine_min=min(self.cosines),
            logit_error=self.logit_error,
            passed=passed,
            gate=dataclasses.asdict(limits),
        )

    def check(self, limits: Gate) -> None:
        """Hold the figures against limits.

        Raises:
            ParityError: the first figure that is past its limit, the embedding's first.
        """
        worst, _, worst_mean, _ = self.kinds()[0]
        lowest = (
            ("image_embeddings (cosine)", min(self.cosines), limits.embedding_cosine),
            (
                "low_res_masks (1 - relative logit error)",
                1.0 - self.logit_error,
                1.0 - limits.logit_error,
            ),
            ("low_res_masks (mean mask IoU)", float(self.ious.mean()), limits.mask_iou_mean),
            (
                "low_res_masks (5th percentile of mask IoU)",
                float(np.percentile(self.ious, 5)),
                limits.mask_iou_p05,
            ),
            (f"low_res_masks (mean IoU of {worst} prompts)", worst_mean, limits.mask_iou_p05),
        )
        for tensor, measured, threshold in lowest:
            if not measured >= threshold:  # NaN fails too
                raise ParityError(tensor, measured, threshold, _ADVICE)


_ADVICE = (
    "The exported graphs do not compute what the model computes, and no bundle was written. Export "
    "with a higher precision, such as --precision fp32; if that fails as well, report a bug."
)


class ReferenceGraphs(Graphs, Protocol):
    """What files are compared with, asked like a bundle's graphs.

    Attributes:
        frame: how images get into it.
    """

    frame: Frame


def measure(
    reference: ReferenceGraphs,
    candidate: Predictor,
    photos: Sequence[Array],
    *,
    on_photo: Callable[[int], None] = lambda _: None,
) -> Parity:
    """Compare a bundle with what it was made of.

    Args:
        reference: the model, or the fp32 bundle.
        candidate: the bundle, opened.
        photos: (H, W, 3) uint8 RGB, at least two that differ.
        on_photo: called with the index of each photo before it is worked on.

    Raises:
        ExportError: fewer than two photos.
    """
    if len(photos) < 2:
        raise ExportError(
            f"Parity was to be measured on {len(photos)} photos, expected at least 2 that differ: "
            "a graph that is blind to its input cannot be told by one."
        )
    rows: list[_Row] = []
    wanted: list[Mapping[str, Array]] = []
    given: list[Mapping[str, Array]] = []
    for index, photo in enumerate(photos):
        on_photo(index)
        view = reference.frame.view_of(photo)
        tensors = reference.run(Role.ENCODER, {IMAGE: view.encoder_input(photo)})
        embedding = candidate.encode(photo)
        wanted.append(tensors)
        given.append(embedding.tensors)

        def expect(
            prompt: Prompt, view: View = view, tensors: Mapping[str, Array] = tensors
        ) -> Array:
            answer = reference.run(Role.DECODER, {**feeds_of([prompt], view), **tensors})
            return np.asarray(answer[LOW_RES_MASKS][0])

        asked, expected = _expectations(view, expect)
        # One batch pads the shorter prompts; each kind's first prompt is asked alone as well.
        logits, _ = candidate.decode_logits(embedding, [probe.prompt for probe in asked])
        rows += _compared(asked, expected, logits, view)
        alone = _first_of_each_kind(asked)
        single = [candidate.decode_logits(embedding, [asked[i].prompt])[0][0] for i in alone]
        rows += _compared(
            [asked[i] for i in alone],
            [expected[i] for i in alone],
            np.stack(single),
            view,
        )
    return Parity(len(photos), tuple(rows), _cosines(wanted, given))


def _cosines(
    wanted: Sequence[Mapping[str, Array]], given: Sequence[Mapping[str, Array]]
) -> tuple[float, ...]:
    """The lowest similarity of any of an embedding's tensors, for each photo."""
    names = wanted[0].keys()
    stacks = (
        [np.stack([one[name] for one in found]) for found in (wanted, given)] for name in names
    )
    return tuple(map(min, zip(*(embedding_cosines(a, b) for a, b in stacks), strict=True)))


def _expectations(view: View, expect: Callable[[Prompt], Array]) -> tuple[list[Probe], list[Array]]:
    """Prompts for a photo, those that continue earlier masks too, with the reference's logits."""
    asked = probes(view.original_size)
    expected = [expect(probe.prompt) for probe in asked]
    more = feedback_probes(view, asked, expected=expected)
    return asked + more, expected + [expect(probe.prompt) for probe in more]


def _first_of_each_kind(asked: Sequence[Probe]) -> list[int]:
    first: dict[str, int] = {}
    for index, probe in enumerate(asked):
        first.setdefault(probe.kind, index)
    return sorted(first.values())


def _compared(
    asked: Sequence[Probe],
    expected: Sequence[Array],
    logits: Array,
    view: View,
) -> list[_Row]:
    height, width = view.low_res_size
    rows = []
    for probe, want, have in zip(asked, expected, logits, strict=True):
        a, b = want[:, :height, :width], have[:, :height, :width]
        scale = max(float(np.sqrt(np.mean(np.square(a, dtype=np.float64)))), 1e-12)
        error = float(np.sqrt(np.mean(np.square(a - b, dtype=np.float64)))) / scale
        rows.append(_Row(probe.kind, _iou(a > 0, b > 0), error))
    return rows


def _iou(a: Array, b: Array) -> Array:
    """IoU of (M, h, w) bool masks, pair by pair; two empty masks agree."""
    both = np.count_nonzero(a & b, axis=(1, 2))
    either = np.count_nonzero(a | b, axis=(1, 2))
    return np.asarray(np.where(either == 0, 1.0, both / np.maximum(either, 1)))
