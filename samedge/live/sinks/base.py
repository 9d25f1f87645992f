"""What a kind of sink is: followed frames in, files out."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import numpy as np

from samedge.live.following import Followed
from samedge.pixels.metrics import bounding_box
from samedge.pixels.rle import rle_from_mask
from samedge.tracking.base import TrackedObject
from samedge.types import Array, Rle


class ObjectRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One object in one frame, as JSON.

    Attributes:
        id: stays the same for as long as the object is followed.
        status: ``followed`` or ``lost``.
        rle: COCO's compressed run lengths; ``None`` for an empty mask.
        bbox: ``[x, y, width, height]``, pixels.
        area: pixels.
        predicted_iou: the model's own estimate.
        stability_score: of the model's mask.
        similarity: to the object's first frame, 0 to 1.
    """

    id: int
    status: str
    rle: Rle | None
    bbox: list[int] | None
    area: int
    predicted_iou: float | None
    stability_score: float | None
    similarity: float | None


class FrameRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One followed frame, as JSON.

    Attributes:
        frame: how many the source had captured before it.
        pts_s: the source's own timestamp.
        age_ms: from the capture to the masks.
        tracking_ms: how long they took.
        size: ``[height, width]``, pixels.
    """

    frame: int
    pts_s: float | None
    age_ms: float
    tracking_ms: float
    size: list[int]
    objects: list[ObjectRecord]


def frame_record(followed: Followed) -> FrameRecord:
    """A followed frame as JSON."""
    return FrameRecord(
        frame=followed.frame.number,
        pts_s=followed.frame.pts_s,
        age_ms=round(followed.age_ms, 3),
        tracking_ms=round(followed.tracking_ms, 3),
        size=list(followed.frame.size),
        objects=[object_record(found) for found in followed.objects],
    )


def object_record(found: TrackedObject) -> ObjectRecord:
    """An object as JSON."""
    box = bounding_box(found.mask)
    return ObjectRecord(
        id=found.id,
        status=found.status.value,
        rle=None if box is None else rle_from_mask(found.mask),
        bbox=None if box is None else [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        area=int(np.count_nonzero(found.mask)),
        predicted_iou=_rounded(found.predicted_iou),
        stability_score=_rounded(found.stability),
        similarity=_rounded(found.similarity),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """A followed frame and its overlay, which several sinks share.

    Attributes:
        followed: the frame.
        overlay: (H, W, 3) uint8 RGB with the masks on it; ``None`` where no sink draws.
    """

    followed: Followed
    overlay: Array | None


class Recording(ABC):
    """An open sink."""

    @abstractmethod
    def write(self, drawn: Drawn) -> None:
        """Add one frame.

        Raises:
            OSError: the disk is full, or gone.
        """


class Sink(ABC):
    """A kind of sink. Stateless; one instance a module, named ``SINK``.

    Attributes:
        endings: of the files that it writes; an empty one is a folder.
        draws: whether it needs the overlay.
    """

    endings: tuple[str, ...]
    draws: bool = False

    @abstractmethod
    def open(self, path: Path, *, fps: float | None) -> AbstractContextManager[Recording]:
        """Begin to write; leaving the context finishes the file, also after an interruption.

        Args:
            path: of the file or folder.
            fps: frames a second where frames have no timestamps of their own.
        """
