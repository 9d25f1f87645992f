"""From a camera and a tracker to masks with an age: encode here, capture and draw elsewhere.

Frames are captured in a process of their own, tracked in a thread, and whatever the caller does
with a result, such as drawing it, happens while the next frame is tracked.
"""

from __future__ import annotations

import contextvars
import dataclasses
import queue
import threading
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from samedge.errors import SourceError
from samedge.live.camera import Camera
from samedge.live.frame import VideoFrame, now_s
from samedge.pixels.metrics import percentile
from samedge.tracking.base import TrackedObject
from samedge.tracking.tracker import Tracker
from samedge.types import Array, Prompt

_STEP_S = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Followed:
    """One frame with its masks.

    Attributes:
        frame: as it was captured.
        objects: in the order of their ids.
        result_s: when the masks were there, on the frame's clock.
        tracking_ms: how long they took, the encoder included.
    """

    frame: VideoFrame
    objects: tuple[TrackedObject, ...]
    result_s: float
    tracking_ms: float

    @property
    def age_ms(self) -> float:
        """From the capture to the masks: how old they were when they were there."""
        return self.frame.age_ms(self.result_s)


@dataclasses.dataclass
class Figures:
    """How old masks were, and how many there were; grows by 16 bytes a frame.

    Attributes:
        ages_ms: of each result.
        first_s: when the first result was there.
        last_s: when the last was.
    """

    ages_ms: list[float] = dataclasses.field(default_factory=list)
    first_s: float | None = None
    last_s: float | None = None

    def add(self, followed: Followed) -> None:
        """Count a result."""
        self.ages_ms.append(followed.age_ms)
        self.first_s = followed.result_s if self.first_s is None else self.first_s
        self.last_s = followed.result_s

    def age_ms(self, rank: int) -> float | None:
        """Percentile of the age; ``None`` where the results are too few for it."""
        found = percentile(self.ages_ms, rank) if self.ages_ms else None
        return None if found is None else round(found, 3)

    @property
    def frames_per_s(self) -> float | None:
        """Results a second, the encoder included; ``None`` with fewer than two."""
        if self.first_s is None or self.last_s is None or self.last_s <= self.first_s:
            return None
        return round((len(self.ages_ms) - 1) / (self.last_s - self.first_s), 3)


def follow(
    camera: Camera,
    tracker: Tracker,
    *,
    prompts: Sequence[Prompt],
    until_s: float | None = None,
) -> Generator[Followed, None, None]:
    """Follow the objects of a camera's first frame.

    A frame counts as processed when the caller asks for the next one. A frame of another size than
    the first is followed at the first one's size, and its masks are given at its own.

    Args:
        camera: an open one; it is not closed.
        tracker: of an open bundle.
        prompts: about the first frame that is taken.
        until_s: when to end, on the clock of :func:`~samedge.live.frame.now_s`, also while no
            frame comes; ``None`` goes on to the source's end.

    Raises:
        PromptError: a prompt does not fit the first frame, or shows nothing.
        SourceError, BackendUnavailableError: as ``Camera.take``; or no frame came.
        InferenceError: the model failed.
    """
    worker = _Worker(camera, tracker, prompts)
    worker.start()
    has_followed = False
    try:
        while (followed := worker.next(until_s)) is not None:
            has_followed = True
            try:
                yield followed
            finally:
                camera.done()
        if not has_followed:
            raise SourceError(_nothing(camera))
    finally:
        worker.stop()


class _Worker:
    """Tracks frame after frame in a thread, one result ahead of whoever takes them."""

    def __init__(self, camera: Camera, tracker: Tracker, prompts: Sequence[Prompt]) -> None:
        self._camera, self._tracker, self._prompts = camera, tracker, prompts
        self._results: queue.Queue[Followed | BaseException | None] = queue.Queue(maxsize=1)
        self._stop = threading.Event()
        within = contextvars.copy_context()  # a time limit of the caller's holds there, too
        self._thread = threading.Thread(
            target=within.run, args=(self._run,), name="samedge-tracking", daemon=True
        )
        self._state: Any = None
        self._size: tuple[int, int] | None = None

    def start(self) -> None:
        """Begin to track."""
        self._thread.start()

    def next(self, until_s: float | None = None) -> Followed | None:
        """The next result; ``None`` at the end, and after ``until_s``.

        Raises:
            SamedgeError: what ended the tracking.
        """
        while until_s is None or now_s() < until_s:  # in steps, so that Ctrl-C is heard
            try:
                result = self._results.get(timeout=_STEP_S)
            except queue.Empty:
                continue
            if isinstance(result, BaseException):
                raise result
            return result
        return None

    def stop(self) -> None:
        """End the thread; a result that nobody took counts as processed: it was tracked."""
        self._stop.set()
        self._thread.join()
        while True:
            try:
                left = self._results.get_nowait()
            except queue.Empty:
                return
            if isinstance(left, Followed):
                self._camera.done()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                frame = self._camera.take(_STEP_S)
                if frame is not None:
                    self._put(self._followed(frame))
                elif self._camera.is_finished:
                    self._camera.take(0)  # raises what the source ended with
                    break
        except BaseException as error:  # noqa: BLE001 - raised again by whoever takes results
            self._put(error)
        else:
            self._put(None)

    def _put(self, result: Followed | BaseException | None) -> None:
        while True:
            try:
                self._results.put(result, timeout=_STEP_S)
            except queue.Full:
                if not self._stop.is_set():
                    continue
                if isinstance(result, Followed):
                    self._camera.done()
            return

    def _followed(self, frame: VideoFrame) -> Followed:
        started = now_s()
        try:
            objects = self._tracked(frame)
        except BaseException:
            self._camera.done()
            raise
        ended = now_s()
        return Followed(frame, objects, ended, (ended - started) * 1e3)

    def _tracked(self, frame: VideoFrame) -> tuple[TrackedObject, ...]:
        if self._state is None or self._size is None:
            self._size = frame.size
            result = self._tracker.begin(frame.image, self._prompts)
        else:
            result = self._tracker.step(self._state, _resized(frame.image, self._size))
        self._state = result.state
        if frame.size == self._size:
            return result.objects
        return tuple(
            dataclasses.replace(found, mask=_resized_mask(found.mask, frame.size))
            for found in result.objects
        )


def _nothing(camera: Camera) -> str:
    counts = camera.counts
    why = ", ".join(f"{count} {reason.value}" for reason, count in counts.dropped_by.items())
    return (
        f"{camera.name} gave no frame to follow: {counts.captured} captured"
        + (f", {why}" if why else "")
        + ". Look at it in a player, and at the limits of rate, age and time."
    )


def _resized(image: Array, size: tuple[int, int]) -> Array:
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0])))


def _resized_mask(mask: Array, size: tuple[int, int]) -> Array:
    picture = Image.fromarray(mask.astype(np.uint8)).resize(
        (size[1], size[0]), Image.Resampling.NEAREST
    )
    return np.asarray(picture) > 0
