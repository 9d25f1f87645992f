"""Who follows in an evaluation: a tracker on a bundle, and what it must beat."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from samedge.errors import BackendUnavailableError, UnknownNameError
from samedge.evaluation.subjects import box_suffix
from samedge.evaluation.video import VideoSubject
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import subject
from samedge.records import Subject
from samedge.records.subjects import BASELINE_PREFIX
from samedge.tracking.settings import TrackerSettings
from samedge.tracking.tracker import Tracker
from samedge.types import Array, Prompt

Mask = npt.NDArray[np.bool_]

STILL, FLOW = "still", "flow"


@dataclasses.dataclass(frozen=True)
class TrackerFollower:
    """A tracker as an evaluation calls it."""

    tracker: Tracker

    def follow(self, images: Iterator[Array], prompts: Sequence[Prompt]) -> Iterator[list[Mask]]:
        """See :class:`samedge.evaluation.video.Follower`."""
        for objects in self.tracker.follow(images, prompts):
            yield [found.mask for found in objects]


@dataclasses.dataclass(frozen=True)
class FirstMaskFollower:
    """The first frame's mask, held still or moved by OpenCV's optical flow.

    The first mask is the prompt where that is a mask, and the model's otherwise.
    """

    predictor: Predictor
    moves: bool

    def follow(self, images: Iterator[Array], prompts: Sequence[Prompt]) -> Iterator[list[Mask]]:
        """See :class:`samedge.evaluation.video.Follower`."""
        before = next(images)
        tracker = Tracker(self.predictor)
        masks = [found.mask for found in tracker.begin(before, prompts).objects]
        yield masks
        soft = [mask.astype(np.float32) for mask in masks]
        for image in images:
            if self.moves:
                motion = _optical_flow(image, before)
                soft = [_moved(mask, motion) for mask in soft]
                before = image
            yield [mask > 0.5 for mask in soft]


def _optical_flow(target: Array, source: Array) -> Array:
    """Where each pixel of one image comes from in another, (H, W, 2) in x and y.

    T. Kroeger et al., "Fast Optical Flow using Dense Inverse Search" (ECCV 2016), as in OpenCV.
    """
    try:
        import cv2
    except ImportError as error:
        raise BackendUnavailableError(
            f"{BASELINE_PREFIX}{FLOW} needs OpenCV, which is not here: pip install 'samedge[eval]'"
        ) from error
    searcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (target, source))
    motion: Array = searcher.calc(first, second, None)
    return motion


def _moved(mask: Array, motion: Array) -> Array:
    import cv2

    rows, columns = np.indices(mask.shape, np.float32)
    moved: Array = cv2.remap(
        mask, columns + motion[..., 0], rows + motion[..., 1], cv2.INTER_LINEAR
    )
    return moved


def baseline_subject(name: str, predictor: Predictor) -> VideoSubject:
    """``baseline:still`` or ``baseline:flow``.

    Args:
        name: one of them.
        predictor: makes the first frame's mask where the prompt is none.

    Raises:
        UnknownNameError: another baseline.
    """
    bare = name.removeprefix(BASELINE_PREFIX)
    if bare not in (STILL, FLOW):
        raise UnknownNameError("baseline", name, [BASELINE_PREFIX + STILL, BASELINE_PREFIX + FLOW])
    library = "numpy" if bare == STILL else "opencv"
    follower = FirstMaskFollower(predictor, moves=bare == FLOW)
    named = Subject(bundle=name, backend=library, device="cpu")
    return VideoSubject(named, follower, bare + _suffix(predictor))


def tracker_subject(
    predictor: Predictor, *, name: str | None, strategy: str = "propagation", ask_every: int = 1
) -> VideoSubject:
    """A tracker on an open bundle.

    Args:
        predictor: the bundle.
        name: the bundle as the user named it.
        strategy: of the tracker.
        ask_every: ask the model in one frame of so many; above 1 the strategy's name says it.

    Raises:
        UnknownNameError: no such strategy.
    """
    settings = TrackerSettings(ask_every=ask_every)
    follower = TrackerFollower(Tracker(predictor, strategy=strategy, settings=settings))
    label = strategy if ask_every == 1 else f"{strategy}/{ask_every}"
    return VideoSubject(subject(predictor, name=name), follower, label + _suffix(predictor))


def _suffix(predictor: Predictor) -> str:
    return box_suffix(predictor.focus, predictor.refine)
