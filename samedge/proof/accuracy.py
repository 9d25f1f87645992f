"""The accuracy gate: a bundle against its own fp32 bundle, on the same images and prompts.

Against ground truth where the calibration set has it. Otherwise the fp32 model's own masks stand in
for it: both models are prompted with their boxes and clicks. That favours fp32, so that a drop is
rather over- than underestimated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from samedge.errors import CalibrationError, GateError
from samedge.evaluation.ground_truth import Instance
from samedge.evaluation.protocols import answers, parse_protocols
from samedge.pixels import metrics
from samedge.predict.predictor import Predictor
from samedge.proof.photos import CalibrationSet
from samedge.types import Array, Prompt, Size

MAX_DROP = 0.005
"""Default budget: mean IoU that a box prompt may lose; the other kinds may lose twice as much."""

PROTOCOLS = "box,center,clicks:3"
ENOUGH_INSTANCES = 30
"""Annotations below this are too few to rank two models by: the fp32 masks are used instead."""

_AT_MOST = 8  # instances taken of one image's own masks
_GRID = (0.2, 0.4, 0.6, 0.8)
_AREAS = (0.002, 0.6)  # of the image; masks outside are no objects
_SAME_OBJECT = 0.7
_STABLE = 0.7
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
    """

    prompt: str
    n: int
    miou_fp32: float
    miou: float
    drop: float
    mask_iou_mean: float
    mask_iou_p05: float


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle beside its fp32 bundle.

    Attributes:
        truth: ``annotations``, or ``fp32 masks`` where there are none.
        images: how many.
        rows: one a kind of prompt.
        encode_ratio: median latency of the encoder over fp32's, interleaved; below 1 is faster;
            ``None`` where the files ran somewhere else than on their platform.
        decode_ratio: the same of one click through the decoder.
        total_ratio: the same of both together.
        size_ratio: bytes of all artifacts over fp32's.
        max_drop: the budget.
        passed: whether every row stays inside.
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

    @property
    def drop(self) -> float:
        """Mean drop over the kinds of prompts."""
        return float(np.mean([row.drop for row in self.rows]))

    def check(self) -> None:
        """Hold the drops against the budget.

        Raises:
            GateError: names the kind of prompt that loses most.
        """
        if self.passed:
            return
        worst = max(self.rows, key=lambda row: row.drop / allowed_drop(row.prompt, self.max_drop))
        limit = allowed_drop(worst.prompt, self.max_drop)
        raise GateError(
            f"With {worst.prompt} prompts the masks lose {worst.drop:.4f} mean IoU against fp32 "
            f"({worst.miou:.4f} instead of {worst.miou_fp32:.4f}, {worst.n} instances, truth: "
            f"{self.truth}); the budget is {limit:.4f}. No bundle was written. Raise --max-drop, "
            "give more --calibration images, or let `samedge calibrate` find a precision plan."
        )


def allowed_drop(prompt: str, max_drop: float) -> float:
    """What a kind of prompt may lose: clicks say less than boxes, and vary twice as much."""
    return max_drop if prompt == "box" else 2.0 * max_drop


class Reference:
    """An fp32 bundle and what it answers on a calibration set, asked once for all candidates.

    Args:
        predictor: the fp32 bundle, opened.
        data: images, with annotations or without.
        max_images: annotated or sampled images to look at.

    Attributes:
        predictor, data: as given.
        truth: ``annotations``, or ``fp32 masks`` where there are none.
    """

    def __init__(self, predictor: Predictor, data: CalibrationSet, *, max_images: int = 32) -> None:
        self.predictor, self.data, self._max_images = predictor, data, max_images
        annotated = data.ground_truth(limit=max_images)
        is_enough = annotated is not None and annotated.instance_count >= ENOUGH_INSTANCES
        self._annotated = annotated if is_enough else None
        self.truth = "annotations" if is_enough else "fp32 masks"
        self._own: list[tuple[Array, list[Instance]]] | None = None
        self._answers: list[list[_Answer]] = []

    def scenes(self) -> Iterator[tuple[Array, list[Instance], list[_Answer]]]:
        """Each picture with its objects and the answers to their prompts, in order of prompts."""
        for index, (picture, instances) in enumerate(self._prompted()):
            if index == len(self._answers):
                self._answers.append(list(_answered(self.predictor, picture, instances)))
            yield picture, instances, self._answers[index]

    def _prompted(self) -> Iterable[tuple[Array, list[Instance]]]:
        if self._annotated is not None:
            return ((image.pixels(), list(image.instances())) for image in self._annotated.images)
        if self._own is None:
            self._own = list(_own_scenes(self.predictor, self.data, self._max_images))
        return self._own


@dataclasses.dataclass(frozen=True, eq=False)
class _Answer:
    """A mask, a bit a pixel, and its IoU with the truth."""

    prompt: str
    bits: Array
    size: Size
    iou: float

    @property
    def mask(self) -> Array:
        """(H, W) bool."""
        pixels = self.size[0] * self.size[1]
        return np.unpackbits(self.bits, count=pixels).view(bool).reshape(self.size)


def _answered(
    predictor: Predictor, picture: Array, instances: Sequence[Instance]
) -> Iterator[_Answer]:
    """A model's answers to every kind of prompt about the objects of a picture."""
    embedding = predictor.encode(picture)

    def decode(prompts: Sequence[Prompt], *, multimask: bool = False) -> list[Any]:
        return predictor.decode_batch(embedding, prompts, multimask=multimask)

    for name, answer in answers(decode, instances, protocols=parse_protocols(PROTOCOLS)):
        size = (picture.shape[0], picture.shape[1])
        yield _Answer(name, np.packbits(answer.mask), size, answer.ious[-1])


def compare(
    reference: Reference,
    candidate: Predictor,
    *,
    max_drop: float = MAX_DROP,
    timed: bool = True,
    on_image: Callable[[str], None] = lambda _: None,
) -> Accuracy:
    """Measure what a bundle loses, and what it gains.

    Args:
        reference: the fp32 bundle, with the images.
        candidate: the bundle in question, opened.
        max_drop: the budget.
        timed: compare latencies too; off where another machine than the platform runs the files.
        on_image: called after each image with a remark.

    Raises:
        CalibrationError: there is nothing to compare on.
    """
    pictures, rows = mask_rows(reference, candidate, on_image=on_image)
    encode_ratio, decode_ratio, total_ratio = (
        latency_ratios(reference.predictor, candidate, next(reference.data.pictures()))
        if timed
        else (None, None, None)
    )
    return Accuracy(
        truth=reference.truth,
        images=pictures,
        rows=rows,
        encode_ratio=encode_ratio,
        decode_ratio=decode_ratio,
        total_ratio=total_ratio,
        size_ratio=candidate.bundle.size_bytes / reference.predictor.bundle.size_bytes,
        max_drop=max_drop,
        passed=all(row.drop <= allowed_drop(row.prompt, max_drop) for row in rows),
    )


def mask_rows(
    reference: Reference,
    candidate: Predictor,
    *,
    on_image: Callable[[str], None] = lambda _: None,
) -> tuple[int, list[AccuracyRow]]:
    """The masks' part of :func:`compare`: how many images, and the rows.

    Args:
        reference: the fp32 bundle, with the images.
        candidate: the bundle in question, opened.
        on_image: called after each image with a remark.

    Raises:
        CalibrationError: there is nothing to compare on.
    """
    scores: dict[str, list[tuple[float, float, float]]] = {}
    pictures = 0
    for picture, instances, expected in reference.scenes():
        pictures += 1
        found = _answered(candidate, picture, instances)
        for want, have in zip(expected, found, strict=True):
            same = metrics.mask_iou(want.mask, have.mask)
            scores.setdefault(want.prompt, []).append((want.iou, have.iou, same))
        on_image(f"{reference.data.source.name}: {pictures} images")
    if not pictures:
        raise CalibrationError(
            f"The fp32 model draws no usable mask on {reference.data.source}: give images with "
            "annotations (instances.json beside them)."
        )
    return pictures, [_row(name, found) for name, found in scores.items()]


def latency_ratios(
    reference: Predictor, candidate: Predictor, picture: Array, *, rounds: int = _ROUNDS
) -> tuple[float, float, float]:
    """Median latencies, candidate over reference, measured in turns.

    Args:
        reference: what it is compared with.
        candidate: what is timed.
        picture: (H, W, 3) uint8 RGB.
        rounds: measurements of each, after one to warm up.

    Returns:
        Of the encoder, of one click through the decoder, and of both.
    """
    prompt = Prompt(points=[[picture.shape[1] / 2, picture.shape[0] / 2]])
    encodes: tuple[list[float], list[float]] = ([], [])
    decodes: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for side, predictor in enumerate((reference, candidate)):
            embedding = predictor.encode(picture)
            encodes[side].append(embedding.timing_ms["encode"])
            decodes[side].append(predictor.decode(embedding, prompt).timing_ms["decode"])
    medians = np.median([[side[1:] for side in part] for part in (encodes, decodes)], axis=2)
    encode, decode = (medians[:, 1] / medians[:, 0]).tolist()
    total = medians.sum(axis=0)
    return encode, decode, float(total[1] / total[0])


def _own_scenes(
    reference: Predictor, data: CalibrationSet, max_images: int
) -> Iterator[tuple[Array, list[Instance]]]:
    for index, picture in enumerate(data.pictures()):
        if index >= max_images:
            return
        instances = own_instances(reference, picture)
        if instances:
            yield picture, instances


def own_instances(reference: Predictor, picture: Array) -> list[Instance]:
    """Objects of an image as a model itself draws them, from a grid of clicks.

    Args:
        reference: the model.
        picture: (H, W, 3) uint8 RGB.

    Returns:
        Stable masks of sensible size that differ from one another.
    """
    height, width = picture.shape[:2]
    embedding = reference.encode(picture)
    clicks = [Prompt(points=[[x * width, y * height]]) for y in _GRID for x in _GRID]
    found: list[Instance] = []
    for answer in reference.decode_batch(embedding, clicks):
        mask = answer.masks[0]
        share = float(mask.mean())
        if not _AREAS[0] <= share <= _AREAS[1] or float(answer.stability_scores[0]) < _STABLE:
            continue
        if any(metrics.mask_iou(mask, other.mask) > _SAME_OBJECT for other in found):
            continue
        box = metrics.bounding_box(mask)
        assert box is not None
        x0, y0, x1, y1 = map(float, box)
        found.append(Instance(len(found), float(mask.sum()), (x0, y0, x1, y1), mask))
    return found[:_AT_MOST]


def _row(name: str, scores: Sequence[tuple[float, float, float]]) -> AccuracyRow:
    expected, given, between = np.asarray(scores, np.float64).T
    return AccuracyRow(
        prompt=name,
        n=len(scores),
        miou_fp32=float(expected.mean()),
        miou=float(given.mean()),
        drop=float(expected.mean() - given.mean()),
        mask_iou_mean=float(between.mean()),
        mask_iou_p05=float(np.percentile(between, 5)),
    )
