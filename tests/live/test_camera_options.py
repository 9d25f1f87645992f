"""What a camera is told: options that cannot be met, rates, names of sources."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge.errors import OptionError, SourceError
from samedge.live.camera import Camera
from samedge.live.mailbox import Drop
from samedge.live.sources.base import ReadOptions
from samedge.live.watch import BackOff


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (np.zeros((4, 6, 3), np.uint8), r"4 items .* an array of shape \(6, 3\) and dtype uint8"),
        ([(np.zeros((4, 6, 3)), 0.5)], r"1 items .* shape \(4, 6, 3\) and dtype float64"),
        (["a.png", None], "2 items and not one frame: the first is a str"),
    ],
)
def test_items_of_which_none_is_a_frame_are_said(items: Any, said: str) -> None:
    """One picture, floats, names of files: they were passed over as damaged, to the end."""
    with Camera(items) as source, pytest.raises(SourceError, match=said):
        list(source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every is 0"),
        ({"max_age_ms": -1}, "max_age_ms is -1"),
        ({"target_fps": float("nan")}, "target_fps is nan"),
        ({"max_age_ms": 50, "drop": False}, "max_age_ms is 50, and no frame of this source"),
        ({"options": ReadOptions(fps=5)}, "options is for a source that samedge opens"),
        ({"back_off": BackOff()}, "back_off is for a source that samedge opens"),
    ],
)
def test_options_that_cannot_be_met(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Camera([], **options)


@pytest.mark.parametrize(
    ("fps", "every", "stamps", "taken"),
    [
        (10, 1, [n / 30 for n in range(7)], [0, 3, 6]),
        (20, 1, [n / 30 for n in range(7)], [0, 2, 3, 5, 6]),
        (10, 2, [n / 30 for n in range(9)], [0, 4, 6]),
        (100, 1, [0, 0.04, 0.08], [0, 1, 2]),
        (10, 1, [5.0, 5.05, 0.0, 0.05, 0.1], [0, 2, 4]),  # the clock jumps back
    ],
)
def test_a_recording_is_thinned_by_its_own_clock(
    fps: float, every: int, stamps: list[float], taken: list[int]
) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    frames = [(picture, stamp) for stamp in stamps]
    with Camera(frames, drop=False, target_fps=fps, every=every) as source:
        assert [frame.number for frame in source] == taken
    counts = source.counts
    assert counts.captured == len(stamps)
    assert counts.dropped == counts.dropped_by.get(Drop.SKIPPED, 0) == len(stamps) - len(taken)


def test_no_such_source() -> None:
    with pytest.raises(SourceError, match=r"'gone.mp4' is no source .* a video file; a folder"):
        Camera("gone.mp4")


def test_a_password_stays_out_of_names() -> None:
    assert Camera("rtsp://me:secret@camera:554/live").name == "rtsp://camera:554/live"
