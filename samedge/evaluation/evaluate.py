"""Accuracy of masks against COCO-format ground truth, by the protocol of docs/accuracy-protocol.md.

Class-agnostic: one prompt an instance, masks and ground truth at the image's original size. Several
segmenters are evaluated in one pass over the images, on the very same prompts.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from samedge.errors import PromptError
from samedge.evaluation.ground_truth import GroundTruth, Instance, TruthImage
from samedge.evaluation.protocols import PromptProtocol, answers
from samedge.evaluation.reading import Readings
from samedge.formats.results import Masks
from samedge.pixels import metrics
from samedge.records import (
    DatasetRecord,
    EvalRecord,
    EvalRow,
    Example,
    ExampleMask,
    InstanceScore,
    ScoredInstance,
    Subject,
    subject_fields,
)
from samedge.types import Array, Progress, Prompt, Stage, Steps

logger = logging.getLogger(__name__)

_MASK_PIXELS_AT_ONCE = 100_000_000  # three masks a prompt, one byte a pixel
_MOST_PROMPTS_AT_ONCE = 16


class Segmenter(Protocol):
    """What can be evaluated: a ``Predictor``, a baseline, or a model that is still in training."""

    def encode(self, image: Array) -> Any:
        """Embed one image, (H, W, 3) uint8 RGB."""

    def decode_batch(
        self, embedding: Any, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        """Segment many prompts of one image."""


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluatedSubject:
    """A segmenter with the identity that its figures are filed under.

    Attributes:
        subject: bundle, backend and the like.
        segmenter: what is evaluated.
        boxes_only: leave out protocols that click.
        suffix: what a protocol's name ends in where the segmenter does more than the protocol says,
            such as ``+focus``: its figures are never those of the plain name.
        box_suffix: what the name of prompts by box ends in beside that.
    """

    subject: Subject
    segmenter: Segmenter
    boxes_only: bool = False
    suffix: str = ""
    box_suffix: str = ""

    def row_name(self, protocol: str) -> str:
        """What a protocol's figures are filed under."""
        return protocol + self.suffix + (self.box_suffix if protocol == "box" else "")

    def answered(self, protocols: Sequence[PromptProtocol]) -> tuple[PromptProtocol, ...]:
        """Those of some protocols that it can be measured by."""
        return tuple(p for p in protocols if not (p.clicks and self.boxes_only))


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that one run measured.

    Attributes:
        results: one row a subject and protocol.
        instances: the scores of every instance behind each row, in the same order as ``results``.
        examples: best, median and worst instance of each protocol, as every subject drew them.
        dataset: what it was measured on.
        seconds: how long it took.
    """

    results: list[EvalRow]
    instances: list[list[InstanceScore]]
    examples: list[Example]
    dataset: DatasetRecord
    seconds: float

    def record(self, *, instances: bool = False) -> EvalRecord:
        """The document of `samedge eval`.

        Args:
            instances: with every instance's scores.
        """
        rows = [
            ScoredInstance(
                bundle=row.bundle,
                backend=row.backend,
                device=row.device,
                prompt=row.prompt,
                **msgspec.structs.asdict(score),
            )
            for row, scores in zip(self.results, self.instances, strict=True)
            for score in scores
        ]
        return EvalRecord(
            dataset=self.dataset,
            results=self.results,
            examples=self.examples,
            instances=rows if instances else None,
            seconds=self.seconds,
        )


def evaluate(
    subjects: Sequence[EvaluatedSubject],
    truth: GroundTruth,
    *,
    protocols: Sequence[PromptProtocol],
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> Evaluation:
    """Score every subject on every instance under every protocol.

    Args:
        subjects: what is compared; all see the same images and prompts, image by image.
        truth: from ``load_ground_truth``.
        protocols: from ``parse_protocols``.
        progress: hears of every image.
        stage: is told the first subject's mean so far.

    An image that cannot be read, or is of another size than the masks, is left out and named in the
    dataset's record.

    Raises:
        PromptError: no subject answers any of the protocols.
        DatasetError: an image's file is missing, which is found before the first encode; or none
            of the images can be read.
    """
    started = time.perf_counter()
    scores: dict[tuple[int, str], list[InstanceScore]] = {
        (index, subject.row_name(protocol.name)): []
        for index, subject in enumerate(subjects)
        for protocol in _asked(subject, protocols)
    }
    if not scores:
        raise PromptError(
            "Nothing can be measured: only clicks are asked for, and what is evaluated answers "
            "boxes only. Add box to the prompts, or a bundle."
        )
    readings = Readings(truth)
    steps = Steps(len(truth.images), progress=progress, stage=stage)
    for image in truth.images:
        pixels = readings.pixels(image)
        if pixels is not None:
            for key, score in _score_image(subjects, image, pixels, protocols=protocols):
                scores[key].append(score)
        steps.step(_running_mean(scores))
    dataset = readings.record()
    rows = [_summarise(subjects[i].subject, name, found) for (i, name), found in scores.items()]
    return Evaluation(
        results=rows,
        instances=list(scores.values()),
        examples=_examples(rows, list(scores.values()), truth),
        dataset=dataset,
        seconds=round(time.perf_counter() - started, 3),
    )


def _asked(
    subject: EvaluatedSubject, protocols: Sequence[PromptProtocol]
) -> tuple[PromptProtocol, ...]:
    asked = subject.answered(protocols)
    if len(asked) < len(protocols):
        logger.warning("%s answers boxes only: clicks are left out", subject.subject.bundle)
    return asked


def _running_mean(scores: Mapping[tuple[int, str], Sequence[InstanceScore]]) -> str:
    (_, name), first = next(iter(scores.items()))
    return f"{name} mIoU {np.mean([s.iou for s in first]):.3f}" if first else ""


def _score_image(
    subjects: Sequence[EvaluatedSubject],
    image: TruthImage,
    pixels: Array,
    *,
    protocols: Sequence[PromptProtocol],
) -> Iterator[tuple[tuple[int, str], InstanceScore]]:
    embeddings = [subject.segmenter.encode(pixels) for subject in subjects]
    for instances in _chunks(image):
        for index, subject in enumerate(subjects):
            decode = functools.partial(subject.segmenter.decode_batch, embeddings[index])
            for name, answer in answers(decode, instances, protocols=subject.answered(protocols)):
                yield (index, subject.row_name(name)), answer.score(image.name)


def _chunks(image: TruthImage) -> Iterator[list[Instance]]:
    """The image's instances, as many at a time as their masks fit a fixed budget of memory."""
    pixels = image.size[0] * image.size[1]
    length = max(1, min(_MOST_PROMPTS_AT_ONCE, _MASK_PIXELS_AT_ONCE // (3 * pixels)))
    chunk: list[Instance] = []
    for instance in image.instances():
        chunk.append(instance)
        if len(chunk) == length:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _summarise(subject: Subject, prompt: str, scores: Sequence[InstanceScore]) -> EvalRow:
    ious = [score.iou for score in scores]
    sizes = [metrics.size_class(score.area) for score in scores]
    oracles = [score.oracle_iou for score in scores if score.oracle_iou is not None]
    by_size = {
        name: [iou for iou, size in zip(ious, sizes, strict=True) if size == name]
        for name in ("small", "medium", "large")
    }
    clicks = [s.ious_by_click for s in scores if s.ious_by_click and prompt.startswith("clicks")]
    return EvalRow(
        prompt=prompt,
        n=len(scores),
        miou=_mean(ious),
        miou_small=_mean(by_size["small"]),
        miou_medium=_mean(by_size["medium"]),
        miou_large=_mean(by_size["large"]),
        boundary_iou=_mean([score.boundary_iou for score in scores]),
        ci95=metrics.bootstrap_mean(ious, [score.image for score in scores]) if scores else None,
        miou_oracle=_mean(oracles) if len(oracles) == len(scores) else None,
        miou_by_click=np.mean(clicks, axis=0).tolist() if clicks else None,
        n_by_size={name: len(values) for name, values in by_size.items()},
        **subject_fields(subject),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _examples(
    rows: Sequence[EvalRow], instances: Sequence[Sequence[InstanceScore]], truth: GroundTruth
) -> list[Example]:
    """The best, the median and the worst instance of each protocol, by mean IoU of all rows."""
    # By annotation: a file may list one picture twice.
    images = {known.id: image for image in truth.images for known in image.annotations}
    examples = []
    for prompt in dict.fromkeys(row.prompt for row in rows):
        chosen = [i for i, row in enumerate(rows) if row.prompt == prompt]
        means = np.mean([[score.iou for score in instances[i]] for i in chosen], axis=0)
        order = np.argsort(-means, kind="stable")
        for rank, place in (("best", 0), ("median", len(order) // 2), ("worst", -1)):
            columns = [(rows[i], instances[i][int(order[place])]) for i in chosen]
            examples.append(_example(rank, prompt, columns, images[columns[0][1].annotation_id]))
    return examples


def _example(
    rank: str, prompt: str, columns: Sequence[tuple[EvalRow, InstanceScore]], image: TruthImage
) -> Example:
    annotation_id = columns[0][1].annotation_id
    return Example(
        rank=rank,
        prompt=prompt,
        image=image.name,
        annotation_id=annotation_id,
        truth=image.rle(annotation_id),
        frame=image.frame,
        masks=[
            ExampleMask(
                bundle=row.bundle,
                backend=row.backend,
                device=row.device,
                iou=score.iou,
                rle=score.rle,
            )
            for row, score in columns
        ],
    )
