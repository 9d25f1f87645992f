"""What a strategy of following is, and the values that it works on."""

from __future__ import annotations

import dataclasses
import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from samedge.formats.results import Masks
from samedge.tracking.settings import TrackerSettings
from samedge.types import Array, Prompt

Region = tuple[int, int, int, int]


class Segmenter(Protocol):
    """What a tracker needs of a ``Predictor``."""

    def encode(self, image: Array, *, region: Region | None = None) -> Any:
        """Embed an (H, W, 3) uint8 RGB image, or a rectangle of it."""

    def decode_batch(
        self, embedding: Any, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        """Segment many prompts of one image."""


class Status(str, enum.Enum):
    """Whether an object is seen."""

    FOLLOWED = "followed"
    LOST = "lost"


@dataclasses.dataclass(frozen=True, eq=False)
class TrackedObject:
    """One object in one frame.

    Attributes:
        id: stays the same for as long as the object is followed, also while it is lost.
        status: whether it is seen; a lost one has an empty mask.
        mask: (H, W) bool, of the frame.
        predicted_iou: the model's own estimate, ``None`` where it was not asked.
        stability: of the model's mask, ``None`` where it was not asked.
        similarity: of its colours to those of its first frame, 0 to 1: is it the same object?
        agreement: IoU of the model's mask with the one carried along: is it a good mask?
    """

    id: int
    status: Status
    mask: Array
    predicted_iou: float | None = None
    stability: float | None = None
    similarity: float | None = None
    agreement: float | None = None


S = TypeVar("S")


@dataclasses.dataclass(frozen=True, eq=False)
class Stepped(Generic[S]):
    """A strategy's answer to one frame.

    Attributes:
        state: to be given to the next step; a value, so that a step can be taken back.
        objects: in the order of their ids.
    """

    state: S
    objects: tuple[TrackedObject, ...]


class Strategy(ABC, Generic[S]):
    """A way of following objects. Stateless; one instance a module, named ``STRATEGY``."""

    @abstractmethod
    def begin(
        self,
        segmenter: Segmenter,
        image: Array,
        *,
        prompts: Sequence[Prompt],
        state: S | None,
        settings: TrackerSettings,
    ) -> Stepped[S]:
        """Take up one object a prompt, beside those of ``state``.

        Args:
            segmenter: the model.
            image: (H, W, 3) uint8 RGB.
            prompts: in pixels of the image.
            state: of the objects that are followed already, after their step to this very image.
            settings: of the tracker.

        Returns:
            Objects that are followed already keep their ids; the new ones come last.

        Raises:
            PromptError: a prompt does not fit the image, or shows nothing.
            ImageError: the image has another size than those that ``state`` is of.
        """

    @abstractmethod
    def step(
        self, segmenter: Segmenter, image: Array, *, state: S, settings: TrackerSettings
    ) -> Stepped[S]:
        """Follow all objects into the next image.

        Raises:
            ImageError: the image has another size than the ones before.
        """

    @abstractmethod
    def without(self, state: S, object_id: int) -> S:
        """Forget an object.

        Raises:
            UnknownNameError: there is none of this id.
        """
