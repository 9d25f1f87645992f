"""A scene of a dozen frames, what follows it and what must add up."""

from __future__ import annotations

import numpy as np

from samedge.live.camera import Camera
from samedge.live.following import Followed
from samedge.live.frame import VideoFrame
from samedge.live.sinks.base import Drawn
from samedge.tracking.tracker import Tracker
from samedge.types import Prompt
from tests.tracking.toys import BLUE, RED, ColourSegmenter, box_of, scene

COUNT = 12


def images(count: int = COUNT) -> list[np.ndarray]:
    return [scene((40 + 2 * t, 60, RED), (120, 90, BLUE), seed=t) for t in range(count)]


def prompts() -> list[Prompt]:
    return [Prompt(box=box_of(images(1)[0], colour)) for colour in (RED, BLUE)]


def tracker() -> Tracker:
    return Tracker(ColourSegmenter())


def adds_up(camera: Camera) -> bool:
    counts = camera.counts
    return counts.in_flight == 0 and counts.captured == counts.processed + counts.dropped


def drawn(number: int) -> Drawn:
    image = images(1)[0]
    frame = VideoFrame(image, number, 0.0)
    return Drawn(Followed(frame, (), 0.01, 10.0), image)
