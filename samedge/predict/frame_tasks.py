"""What is asked about many frames: each frame with its prompts, as one task in its turn."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from samedge.errors import OptionError, PromptError
from samedge.pixels.layouts import YuvImage
from samedge.predict.graphs import Graphs
from samedge.types import Array, Prompt

Given = str | os.PathLike[str] | Array | YuvImage
"""A frame: its file, (H, W, 3) uint8 RGB, or a camera's as ``image_from_yuv`` makes it."""

Asked = Prompt | Sequence[Prompt]
"""What is asked about one frame."""


def check_given(frames: object, prompts: object) -> None:
    """Refuse what cannot be gone through.

    Raises:
        OptionError: the frames are one file, or no frames.
        PromptError: the prompts are none.
    """
    if isinstance(frames, str | os.PathLike):
        raise OptionError(f"frames is one file, {os.fspath(frames)}: give a list of files.")
    if not isinstance(frames, Iterable):
        raise OptionError(
            f"frames is a {type(frames).__name__}, expected an iterable of files or arrays."
        )
    if not isinstance(prompts, Prompt | Iterable | None):
        raise PromptError(
            f"prompts is a {type(prompts).__name__}, expected one samedge.Prompt for all frames, "
            "or an iterable with one entry a frame."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class FrameTask:
    """One frame and what is asked about it."""

    index: int
    frame: Given
    prompts: tuple[Prompt, ...]

    @property
    def path(self) -> Path | None:
        """The frame's file."""
        return Path(self.frame) if isinstance(self.frame, str | os.PathLike) else None


def frame_tasks(graphs: Graphs, pairs: Iterable[object], *, is_kept: bool) -> Iterator[FrameTask]:
    """One task a frame, as long as the predictor is open.

    Args:
        graphs: that will be run.
        pairs: of a frame and its prompts.
        is_kept: whether who gave the frames leaves them as they are.

    Raises:
        PromptError: what came is no such pair.
        InferenceError: the predictor is closed.
    """
    for index, pair in enumerate(pairs):
        graphs.check_open()
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise PromptError(
                f"Frame {index} came as {type(pair).__name__} without prompts: give `prompts`, or "
                "pairs of a frame and its prompts."
            )
        frame, asked = pair
        own = frame if is_kept else _copied(frame)
        yield FrameTask(index, own, tuple(asked) if isinstance(asked, Iterable) else (asked,))


def _copied(frame: Given) -> Given:
    """A frame of its own: a camera's buffer may hold another by the time that it is looked at."""
    if isinstance(frame, YuvImage):
        planes = {n: getattr(frame, n).copy() for n in ("brightness", "blue", "red")}
        return dataclasses.replace(frame, **planes)
    return frame.copy() if isinstance(frame, np.ndarray) and frame.flags.writeable else frame


def with_prompts(
    frames: Iterable[object], prompts: Prompt | Iterable[Asked]
) -> Iterator[tuple[object, Asked]]:
    """Each frame with what is asked about it.

    Raises:
        PromptError: there are fewer prompts than frames, or a list of more.
    """
    if isinstance(prompts, Prompt):
        yield from zip(frames, itertools.repeat(prompts), strict=False)
        return
    asked, count = iter(prompts), 0
    for count, frame in enumerate(frames, start=1):
        one = next(asked, None)
        if one is None:
            raise PromptError(
                f"There are prompts for {count - 1} frames, and more frames: give one entry a "
                "frame, or one prompt for all."
            )
        yield frame, one
    if isinstance(prompts, Sequence) and len(prompts) > count:
        raise PromptError(
            f"There are {len(prompts)} entries of prompts and {count} frames: give one entry a "
            "frame; several prompts about one frame go as a list inside of it."
        )
