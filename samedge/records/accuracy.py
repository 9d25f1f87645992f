"""What `samedge eval` writes."""

from __future__ import annotations

import msgspec

from samedge.records.machine import Environment
from samedge.records.subjects import Subject
from samedge.records.video import VideoRow
from samedge.types import Rle

EVAL_SCHEMA = "samedge.eval/1"


class EvalRow(Subject, frozen=True, kw_only=True):
    """Accuracy of one subject under one prompt protocol.

    Attributes:
        prompt: ``box``, ``center`` or ``clicks:N``.
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


class DatasetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the accuracy was measured on.

    Attributes:
        skipped: annotations that were left out, by reason.
        images_dir: where the images lay, for reports.
        failed: images that could not be read, and why.
    """

    path: str
    images: int
    instances: int
    skipped: dict[str, int] = {}
    images_dir: str | None = None
    failed: dict[str, str] = {}


class EvalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `samedge eval`."""

    dataset: DatasetRecord
    results: list[EvalRow]
    video: list[VideoRow] = []
    examples: list[Example] = []
    instances: list[ScoredInstance] | None = None
    environment: Environment | None = None
    command: str | None = None
    seconds: float | None = None
    schema: str = EVAL_SCHEMA
    samedge_version: str | None = None
    created: str | None = None
