"""Many frames through one predictor: several at a time, each on its share of the processor.

A frame goes through its stages (reading the file, resizing, encoding, decoding, upscaling) on one
thread, and so many frames are under way as there are processors. That overlaps every stage with
every other, hands nothing from thread to thread, and has no slowest stage to wait for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from samedge.bundle.bundle import Bundle
from samedge.errors import OptionError
from samedge.formats.results import Masks
from samedge.pixels.frames import Frame
from samedge.pixels.images import load_image
from samedge.pixels.layouts import YuvImage
from samedge.pixels.prompts import check_prompts
from samedge.predict import trust
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.focus import FocusMode
from samedge.predict.frame_tasks import (
    Asked,
    FrameTask,
    Given,
    check_given,
    frame_tasks,
    with_prompts,
)
from samedge.predict.graphs import Graphs
from samedge.predict.ordered import OF_ONE_IMAGE, in_order, usual_workers
from samedge.runtimes.base import Backend, Probe
from samedge.types import Array, Prompt

OnError = Literal["raise", "return"]

Opened = TypeVar("Opened", bound="Segmenter")


class Segmenter(Protocol):
    """What is needed of a predictor."""

    graphs: Graphs
    frame: Frame
    is_verified: bool
    others: Beside[Any]

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        device: str | None,
        options: Mapping[str, Any],
        probe: Probe,
        focus: FocusMode,
        refine: int | None,
    ) -> None:
        """See ``Predictor``."""
        ...

    @property
    def focus(self) -> FocusMode:
        """See ``Predictor.focus``."""
        ...

    @property
    def refine(self) -> int:
        """See ``Predictor.refine``."""
        ...

    def encode(self, image: Array | YuvImage) -> ImageEmbedding:
        """See ``Predictor.encode``."""
        ...

    def decode_batch(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        """See ``Predictor.decode_batch``."""
        ...

    def predict(self, image: Array, prompt: Prompt, *, multimask: bool = False) -> Masks:
        """See ``Predictor.predict``."""
        ...

    def beside(self: Opened, callers: int) -> Opened:
        """See :meth:`ManyFrames.beside`."""
        ...

    def close(self) -> None:
        """See ``Predictor.close``."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class FrameMasks:
    """The masks of one frame.

    Attributes:
        index: of the frame, from 0.
        path: its file; ``None`` for an array.
        results: one entry a prompt, in the prompts' order.
        timing_ms: ``read`` for a file, ``preprocess``, ``encode``, ``decode`` and ``postprocess``,
            each as long as it took while other frames were under way.
    """

    index: int
    path: Path | None
    results: tuple[Masks, ...]
    timing_ms: dict[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class FailedFrame:
    """A frame that gave no masks, and why.

    Attributes:
        index: of the frame, from 0.
        path: its file; ``None`` for an array.
        error: what was wrong with it.
    """

    index: int
    path: Path | None
    error: Exception


class Beside(Generic[Opened]):
    """Predictors of one model for several callers at a time, each opened once."""

    def __init__(self) -> None:
        self._opened: dict[int, Opened] = {}
        self._lock = threading.Lock()

    def get(self, own: Opened, callers: int, *, options: Mapping[str, Any]) -> Opened:
        """The one for so many callers.

        Args:
            own: the predictor that it stands beside.
            callers: at a time.
            options: that it is opened with.

        Raises:
            BundleError: it computes wrong results.
            InferenceError: ``own`` is closed.
        """
        g = own.graphs
        with self._lock:
            g.check_open()
            if callers not in self._opened:
                opened = type(own)(
                    g.bundle,
                    g.backend,
                    device=g.device,
                    options=options,
                    probe=g.probe,
                    focus=own.focus,
                    refine=own.refine,
                )
                opened.frame = own.frame  # its rule may be the caller's
                try:
                    if own.is_verified:
                        trust.check_canary_once(opened.graphs)
                except BaseException:
                    opened.close()
                    raise
                self._opened[callers] = opened
            return self._opened[callers]

    def close(self) -> None:
        """Release them."""
        with self._lock:
            while self._opened:
                self._opened.popitem()[1].close()


class ManyFrames:
    """What a predictor does with many frames; see the module.

    Attributes:
        is_verified: whether the canary has to pass before anything is computed.
        others: the predictors that :meth:`beside` opened.
    """

    def __init__(self) -> None:
        self.is_verified = False
        self.others: Beside[Any] = Beside()

    def beside(self: Opened, callers: int) -> Opened:
        """The same model for so many callers at a time, each on its share of the processor.

        Its graphs are opened once more and stay open until this predictor is closed.

        Args:
            callers: at a time.

        Returns:
            Another predictor, or this one where it serves them as well.

        Raises:
            BundleError: it computes wrong results that way.
            InferenceError: this predictor is closed.
        """
        options = self.graphs.options_for(callers) if callers > 1 else None
        found: Opened = self if options is None else self.others.get(self, callers, options=options)
        return found

    def map(
        self: Segmenter,
        frames: Iterable[Given] | Iterable[tuple[Given, Asked]],
        prompts: Prompt | Iterable[Asked] | None = None,
        *,
        multimask: bool = False,
        on_error: OnError = "raise",
        workers: int | None = None,
    ) -> Generator[FrameMasks | FailedFrame, None, None]:
        """Masks of many frames, several computed at a time, in the frames' order, such as ::

            for found in predictor.map(sorted(Path("photos").glob("*.jpg")), prompt):
                found.results[0].masks

        Twice as many frames as ``workers`` are under way at most, so that frames may come from an
        iterator without an end. Masks are those of :meth:`decode_batch`, to the bit. Closing the
        generator, an error and an interrupt drop the frames that have not begun, wait for those
        that run, and leave no thread behind.

        Args:
            frames: files, (H, W, 3) uint8 RGB arrays or what ``image_from_yuv`` makes. An iterator
                is read in the caller's own thread, and what it gives is copied where it can be
                written to.
            prompts: one for all frames, or an iterable with one for each frame, or with a sequence
                of prompts for each; ``None``: ``frames`` gives pairs of a frame and its prompts.
            multimask: return all three candidates of SAM for every prompt.
            on_error: what to do about a frame that cannot be read or segmented: ``raise`` its error
                in its turn, or ``return`` a :class:`FailedFrame` and go on.
            workers: frames at a time; ``None``: one a processor and 8 at most. Where the backend
                computes otherwise with several, see :meth:`beside`.

        Yields:
            One entry a frame.

        Raises:
            OptionError: another word for ``on_error``, ``workers`` below 1, or one file as frames.
            PromptError: there are more prompts than frames, or fewer.
            InferenceError: the predictor was closed.
            SamedgeError: as of ``load_image``, ``encode`` and ``decode_batch``.
        """
        if on_error not in ("raise", "return"):
            raise OptionError(f"on_error is {on_error!r}, expected 'raise' or 'return'.")
        count: object = usual_workers() if workers is None else workers
        if not isinstance(count, int) or count < 1:
            raise OptionError(f"workers is {workers!r}, expected a whole number of 1 or more.")
        check_given(frames, prompts)
        pairs = frames if prompts is None else with_prompts(frames, prompts)
        tasks = frame_tasks(self.graphs, pairs, is_kept=isinstance(frames, Sequence))
        return _mapped(self, tasks, multimask=multimask, on_error=on_error, workers=count)


def _mapped(
    predictor: Segmenter,
    tasks: Iterable[FrameTask],
    *,
    multimask: bool,
    on_error: OnError,
    workers: int,
) -> Generator[FrameMasks | FailedFrame, None, None]:
    one = functools.partial(_outcome, predictor.beside(workers), multimask=multimask)
    calls = (functools.partial(one, task) for task in tasks)
    with contextlib.closing(in_order(calls, workers=workers, ahead=2 * workers)) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, FailedFrame) and on_error == "raise":
                raise outcome.error
            yield outcome


def _outcome(predictor: Segmenter, task: FrameTask, *, multimask: bool) -> FrameMasks | FailedFrame:
    try:
        return _masks(predictor, task, multimask=multimask)
    except OF_ONE_IMAGE as error:
        return FailedFrame(task.index, task.path, error)


def _masks(predictor: Segmenter, task: FrameTask, *, multimask: bool) -> FrameMasks:
    start = time.perf_counter()
    image = task.frame if isinstance(task.frame, YuvImage) else load_image(task.frame)
    timing = {} if task.path is None else {"read": (time.perf_counter() - start) * 1e3}
    check_prompts(task.prompts)
    drawn = [prompt for prompt in task.prompts if prompt.text is None]
    answers: Iterator[Masks] = iter(())
    if drawn or not task.prompts:
        embedding = predictor.encode(image)
        answers = iter(predictor.decode_batch(embedding, drawn, multimask=multimask))
        timing |= embedding.timing_ms
    results = [
        next(answers)
        if prompt.text is None
        else _named(predictor, image, prompt, multimask=multimask)
        for prompt in task.prompts
    ]
    for result in results:
        for stage, value in result.timing_ms.items():
            timing[stage] = timing.get(stage, 0.0) + value
    return FrameMasks(task.index, task.path, tuple(results), timing)


def _named(
    predictor: Segmenter, image: Array | YuvImage, prompt: Prompt, *, multimask: bool
) -> Masks:
    """What words name, which looks at the picture and not at its embedding."""
    rgb = image.rgb() if isinstance(image, YuvImage) else image
    return predictor.predict(rgb, prompt, multimask=multimask)
