"""The accuracy gate: a bundle against its own fp32 bundle, on the same images and prompts.

A paired test. Both bundles answer the same prompts about objects whose masks are known: those of
the calibration set's annotations, and then of composites made of its photos
(:mod:`samedge.proof.composites`). What is lost is known up to an interval over images, and
measuring goes on until that lies on one side of the budget, or the time is over.

Where fp32 hardly prefers one of a click's three candidates, both bundles go on with the same one:
which of equals is best is left to rounding, and would only blur the figures.

The masks of fp32 are never the truth: held against its own masks fp32 is right by construction,
and every harmless difference would count as a loss.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np

from samedge.errors import GateError
from samedge.pixels import metrics
from samedge.predict.predictor import Predictor
from samedge.proof import decision
from samedge.proof.decision import Budget, Undecided, Verdict, allowed_drop
from samedge.proof.scenes import Answers, Reference, Scene, answered
from samedge.types import Array, Prompt, Stage, Steps

_LOOKS = 1.25  # the interval is looked at again when there are so many times more images
_ROUNDS = 15


class AccuracyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of prompt.

    Attributes:
        prompt: ``box``, ``center`` or ``clicks:N``.
        n: instances.
        miou_fp32: mean IoU of the fp32 bundle with the truth.
        miou: the same of this bundle.
        drop: the difference; negative where this bundle is better.
        mask_iou_mean: mean IoU between the masks of the two.
        mask_iou_p05: its 5th percentile.
        drop_ci95: where the drop lies, over images; ``None`` with too few images to tell.
    """

    prompt: str
    n: int
    miou_fp32: float
    miou: float
    drop: float
    mask_iou_mean: float
    mask_iou_p05: float
    drop_ci95: tuple[float, float] | None = None

    def verdict(self, max_drop: float, *, early: bool = False) -> Verdict:
        """What is known of the loss; ``early`` while more can be measured."""
        return decision.verdict(self.drop_ci95, allowed_drop(self.prompt, max_drop), early=early)

    @property
    def interval(self) -> str:
        """The drop's interval, for people."""
        if self.drop_ci95 is None:
            return f"{self.drop:.3f}, on too few images for an interval"
        return f"{self.drop_ci95[0]:.3f} to {self.drop_ci95[1]:.3f}"


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle beside its fp32 bundle.

    Attributes:
        truth: ``annotations``, ``composites``, or both.
        images: how many.
        rows: one a kind of prompt.
        encode_ratio: median latency of the encoder over fp32's, interleaved; below 1 is faster;
            ``None`` where the files ran somewhere else than on their platform.
        decode_ratio: the same of one click through the decoder.
        total_ratio: the same of both together.
        size_ratio: bytes of all artifacts over fp32's.
        max_drop: the budget.
        passed: whether the bundle may be written.
        verdict: ``passed``, ``refused`` or ``undecided``.
        undecided: the rule for the last: ``pass`` or ``fail``.
        seconds: how long it was measured.
    """

    truth: str
    images: int
    rows: list[AccuracyRow]
    encode_ratio: float | None
    decode_ratio: float | None
    total_ratio: float | None
    size_ratio: float
    max_drop: float
    passed: bool
    verdict: str
    undecided: str = Undecided.PASS.value
    seconds: float | None = None

    @property
    def drop(self) -> float:
        """Mean drop over the kinds of prompts."""
        return float(np.mean([row.drop for row in self.rows]))

    @property
    def worst(self) -> AccuracyRow:
        """The kind of prompt that decides: refused before undecided, then what loses most."""
        order = (Verdict.PASSED, Verdict.UNDECIDED, Verdict.REFUSED)

        def badness(row: AccuracyRow) -> tuple[int, float]:
            share = row.drop / max(allowed_drop(row.prompt, self.max_drop), 1e-9)
            return order.index(row.verdict(self.max_drop)), share

        return max(self.rows, key=badness)

    @property
    def summary(self) -> str:
        """One sentence on what was decided and by what."""
        undecided = f"; {_MORE}" if self.verdict == Verdict.UNDECIDED.value else ""
        return f"{self._decided}{undecided}"

    @property
    def _decided(self) -> str:
        row = self.worst
        on = f"{row.n} instances in {self.images} images, truth: {self.truth}"
        return f"{self.verdict}: {row.prompt} prompts lose {row.interval} mean IoU on {on}"

    def check(self) -> None:
        """Refuse what is proven to lose too much, and by its rule what is undecided.

        Raises:
            GateError: names the kind of prompt that decides.
        """
        if self.passed:
            return
        row = self.worst
        limit = allowed_drop(row.prompt, self.max_drop)
        if self.verdict == Verdict.UNDECIDED.value:
            raise GateError(
                f"Accuracy is {self._decided}. The budget is {limit:.4f}, and no bundle was "
                f"written, as --undecided fail asks. {_MORE[:1].upper() + _MORE[1:]}."
            )
        raise GateError(
            f"With {row.prompt} prompts the masks lose {row.drop:.4f} mean IoU ({row.interval}) "
            f"against fp32 ({row.miou:.4f} instead of {row.miou_fp32:.4f}, {row.n} instances in "
            f"{self.images} images, truth: {self.truth}); the budget is {limit:.4f}. No bundle was "
            "written. Raise --max-drop, or let `samedge calibrate` find a precision plan."
        )


_MORE = "give --calibration with 50 photos, annotated if you can, or a longer --gate-seconds"


class _Tally:
    """What two bundles answered so far."""

    def __init__(self, max_drop: float) -> None:
        self.images = 0
        self.truths: list[str] = []
        self._max_drop = max_drop
        self._scores: dict[str, list[tuple[int, float, float, float]]] = {}

    def add(self, scene: Scene, *, expected: Answers, found: Answers) -> None:
        """Compare the answers about one more picture."""
        for want, have in zip(expected.prompts, found.prompts, strict=True):
            same = metrics.mask_iou(want.mask, have.mask)
            row = (self.images, want.iou, have.iou, same)
            self._scores.setdefault(want.prompt, []).append(row)
        self.images += 1
        if scene.truth not in self.truths:
            self.truths.append(scene.truth)

    def rows(self) -> list[AccuracyRow]:
        """One a kind of prompt."""
        return [_row(name, found) for name, found in self._scores.items()]

    def verdict(self, *, early: bool = False) -> Verdict:
        """What is known of all kinds of prompts together; ``early`` while more can be measured."""
        return decision.overall([row.verdict(self._max_drop, early=early) for row in self.rows()])


def compare(
    reference: Reference,
    subject: Predictor,
    *,
    budget: Budget | None = None,
    timed: bool = True,
    stage: Stage | None = None,
) -> Accuracy:
    """Measure what a bundle loses, and what it gains, until it is decided.

    Args:
        reference: the fp32 bundle, with the images.
        subject: the bundle in question, opened.
        budget: what may be lost, and how long it may take to tell.
        timed: compare latencies too; off where another machine than the platform runs the files.
        stage: is told how many images were compared.
    """
    budget = budget or Budget()
    start = time.monotonic()
    tally, found = _Tally(budget.max_drop), Verdict.UNDECIDED
    look, steps = decision.FEWEST_IMAGES, Steps(stage=stage)
    for scene, expected in reference.scenes():
        tally.add(scene, expected=expected, found=answered(subject, scene, expected=expected))
        is_late = time.monotonic() - start >= budget.seconds
        if tally.images >= look or is_late:
            look = int(tally.images * _LOOKS) + 1
            found = tally.verdict(early=not is_late)
        steps.step(f"{tally.images} images, {found.value}")
        if is_late or found is not Verdict.UNDECIDED:
            break
    found = tally.verdict()
    seconds = time.monotonic() - start
    picture = next(reference.data.photos())
    ratios = latency_ratios(reference.predictor, subject, picture=picture) if timed else (None,) * 3
    return Accuracy(
        truth=" and ".join(tally.truths),
        images=tally.images,
        rows=tally.rows(),
        encode_ratio=ratios[0],
        decode_ratio=ratios[1],
        total_ratio=ratios[2],
        size_ratio=subject.bundle.size_bytes / reference.predictor.bundle.size_bytes,
        max_drop=budget.max_drop,
        passed=budget.passes(found),
        verdict=found.value,
        undecided=budget.undecided.value,
        seconds=seconds,
    )


def mask_rows(
    reference: Reference,
    subject: Predictor,
    *,
    stage: Stage | None = None,
) -> tuple[int, list[AccuracyRow]]:
    """The masks' part of :func:`compare` on all images of the reference: how many, and the rows.

    Args:
        reference: the fp32 bundle, with the images.
        subject: the bundle in question, opened.
        stage: is told how many images were compared.
    """
    tally, steps = _Tally(decision.MAX_DROP), Steps(stage=stage)
    for scene, expected in reference.scenes():
        tally.add(scene, expected=expected, found=answered(subject, scene, expected=expected))
        steps.step(f"{tally.images} images")
    return tally.images, tally.rows()


def latency_ratios(
    reference: Predictor, subject: Predictor, *, picture: Array, rounds: int = _ROUNDS
) -> tuple[float, float, float]:
    """Median latencies, subject over reference, measured in turns.

    Args:
        reference: what it is compared with.
        subject: what is timed.
        picture: (H, W, 3) uint8 RGB.
        rounds: measurements of each, after one to warm up.

    Returns:
        Of the encoder, of one click through the decoder, and of both.
    """
    prompt = Prompt(points=[[picture.shape[1] / 2, picture.shape[0] / 2]])
    encodes: tuple[list[float], list[float]] = ([], [])
    decodes: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for side, predictor in enumerate((reference, subject)):
            embedding = predictor.encode(picture)
            encodes[side].append(embedding.timing_ms["encode"])
            decodes[side].append(predictor.decode(embedding, prompt).timing_ms["decode"])
    medians = np.median([[side[1:] for side in part] for part in (encodes, decodes)], axis=2)
    encode, decode = (medians[:, 1] / medians[:, 0]).tolist()
    total = medians.sum(axis=0)
    return encode, decode, float(total[1] / total[0])


def _row(name: str, scores: Sequence[tuple[int, float, float, float]]) -> AccuracyRow:
    images = [score[0] for score in scores]
    expected, given, between = np.asarray([score[1:] for score in scores], np.float64).T
    losses = expected - given
    return AccuracyRow(
        prompt=name,
        n=len(scores),
        miou_fp32=float(expected.mean()),
        miou=float(given.mean()),
        drop=float(losses.mean()),
        mask_iou_mean=float(between.mean()),
        mask_iou_p05=float(np.percentile(between, 5)),
        drop_ci95=decision.loss_interval(losses.tolist(), images),
    )
