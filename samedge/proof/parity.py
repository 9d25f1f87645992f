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
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from samedge.bundle.manifest import ParityRecord
from samedge.errors import ExportError, ParityError
from samedge.pixels.frames import LOW_RES_STRIDE, encoder_input_from_image, input_size_from_original
from samedge.pixels.metrics import embedding_cosines
from samedge.pixels.prompts import decoder_feeds
from samedge.predict.predictor import Predictor
from samedge.proof.probes import Probe, feedback_probes, probes
from samedge.types import Precision, Prompt

Array = npt.NDArray[Any]


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


class ReferenceGraphs(Protocol):
    """What files are compared with, asked like opened graphs.

    Attributes:
        image_size: side S of the encoder's input, pixels.
    """

    image_size: int

    def encoder(self, feeds: Mapping[str, Array], /) -> Mapping[str, Array]:
        """``image`` to ``image_embeddings``."""
        ...

    def decoder(self, feeds: Mapping[str, Array], /) -> Mapping[str, Array]:
        """The decoder's five inputs to its two outputs."""
        ...


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
    wanted, given = [], []
    for index, photo in enumerate(photos):
        on_photo(index)
        pixels = encoder_input_from_image(photo, reference.image_size)
        wanted.append(reference.encoder({"image": pixels})["image_embeddings"])
        embedding = candidate.encode(photo)
        given.append(np.asarray(embedding.data))
        size = (photo.shape[0], photo.shape[1])

        def expect(prompt: Prompt, size: tuple[int, int] = size, at: int = index) -> Array:
            feeds = decoder_feeds([prompt], original_size=size, target_length=reference.image_size)
            answer = reference.decoder({"image_embeddings": wanted[at], **feeds})
            return np.asarray(answer["low_res_masks"][0])

        asked, expected = _expectations(size, expect)
        # One batch pads the shorter prompts; each kind's first prompt is asked alone as well.
        logits, _ = candidate.decode_logits(embedding, [probe.prompt for probe in asked])
        rows += _compared(asked, expected, logits, size, reference.image_size)
        alone = _first_of_each_kind(asked)
        single = [candidate.decode_logits(embedding, [asked[i].prompt])[0][0] for i in alone]
        rows += _compared(
            [asked[i] for i in alone],
            [expected[i] for i in alone],
            np.stack(single),
            size,
            reference.image_size,
        )
    return Parity(len(photos), tuple(rows), embedding_cosines(np.stack(wanted), np.stack(given)))


def _expectations(
    size: tuple[int, int], expect: Callable[[Prompt], Array]
) -> tuple[list[Probe], list[Array]]:
    """Prompts for a photo, those that continue earlier masks too, with the reference's logits."""
    asked = probes(size)
    expected = [expect(probe.prompt) for probe in asked]
    more = feedback_probes(size, asked, expected)
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
    size: tuple[int, int],
    target_length: int,
) -> list[_Row]:
    height, width = (
        -(-side // LOW_RES_STRIDE) for side in input_size_from_original(size, target_length)
    )
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
