"""What `samedge eval` writes."""

from __future__ import annotations

import msgspec

from samedge.files.error_documents import ErrorRecord
from samedge.records.machine import Environment
from samedge.records.subjects import Subject
from samedge.records.video import VideoRow
from samedge.records.words import WordRow
from samedge.types import Rle

EVAL_SCHEMA = "samedge.eval/1"


class EvalRow(Subject, frozen=True, kw_only=True):
    """Accuracy of one subject under one prompt protocol.

    Attributes:
        prompt: ``box``, ``center`` or ``clicks:N``; with a second look ``box+focus`` and so on.
        n: instances.
        miou: plain mean over instances of the chosen mask's IoU.
        ci95: bootstrap interval of ``miou`` over images; ``None`` with fewer than two images.
        miou_oracle: mean IoU had the best of several masks been chosen; ``None`` where the prompt
            gives one mask only.
        miou_by_click: mean IoU after each click, for ``clicks:N``.
        n_by_size: instances of each size class.
    """

    prompt: str
    n: int
    miou: float | None
    miou_small: float | None
    miou_medium: float | None
    miou_large: float | None
    boundary_iou: float | None
    ci95: tuple[float, float] | None
    miou_oracle: float | None
    miou_by_click: list[float] | None = None
    n_by_size: dict[str, int] = {}


class EverythingRow(Subject, frozen=True, kw_only=True):
    """How much of the images' objects one subject finds without prompts.

    Attributes:
        n: objects.
        images: that they are in.
        ar_10: average recall of the ten best ranked masks an image, IoU 0.50 to 0.95.
        ar_100: of the hundred best.
        ar_1000: of the thousand best.
        ar_100_by_size: of the objects of each size class.
        best_iou: mean over objects of the IoU with the mask that fits each best.
        best_iou_by_size: of each size class.
        best_iou_ci95: bootstrap interval of ``best_iou`` over images.
        masks_an_image: how many were found.
        clicks_an_image: how many were decoded.
        seconds: for the finding, in all.
        focus: when small masks were drawn again from a closer look.
    """

    n: int
    images: int
    ar_10: float | None
    ar_100: float | None
    ar_1000: float | None
    ar_100_by_size: dict[str, float | None] = {}
    best_iou: float | None
    best_iou_by_size: dict[str, float | None] = {}
    best_iou_ci95: tuple[float, float] | None = None
    masks_an_image: float | None = None
    clicks_an_image: float | None = None
    seconds: float | None = None
    focus: str = "never"


class InstanceScore(msgspec.Struct, frozen=True, kw_only=True):
    """One instance under one prompt protocol, as one subject segmented it."""

    image: str
    annotation_id: int
    area: float
    iou: float
    boundary_iou: float
    oracle_iou: float | None
    predicted_iou: float
    ious_by_click: list[float] | None
    rle: Rle


class ScoredInstance(InstanceScore, frozen=True, kw_only=True):
    """An instance's scores with the subject and the protocol that they belong to."""

    bundle: str
    backend: str
    device: str | None = None
    prompt: str


class ExampleMask(msgspec.Struct, frozen=True, kw_only=True):
    """One subject's mask of an example."""

    bundle: str
    backend: str
    device: str | None
    iou: float
    rle: Rle


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """The same instance as every subject segmented it: the best, the median or the worst."""

    rank: str
    prompt: str
    image: str
    annotation_id: int
    truth: Rle
    masks: list[ExampleMask]
    frame: str | None = None


class FailedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that could not be read, and what to do about it."""

    image: str
    error: ErrorRecord


class DatasetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the accuracy was measured on.

    Attributes:
        skipped: annotations that were left out, by reason.
        images_dir: where the images lay, for reports.
        failed: images that could not be read, and why.
        failures: the same with what to do; empty in records of an earlier samedge.
        warnings: what to know of images or videos that were measured on.
    """

    path: str
    images: int
    instances: int
    skipped: dict[str, int] = {}
    images_dir: str | None = None
    failed: dict[str, str] = {}
    failures: list[FailedImage] = []
    warnings: list[str] = []


class EvalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `samedge eval`."""

    dataset: DatasetRecord
    results: list[EvalRow]
    video: list[VideoRow] = []
    everything: list[EverythingRow] = []
    words: list[WordRow] = []
    examples: list[Example] = []
    instances: list[ScoredInstance] | None = None
    environment: Environment | None = None
    command: str | None = None
    seconds: float | None = None
    schema: str = EVAL_SCHEMA
    samedge_version: str | None = None
    created: str | None = None
