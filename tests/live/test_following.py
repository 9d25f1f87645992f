"""From frames to files: the thread that tracks, the sinks, the page, and a disk that is full."""

from __future__ import annotations

import contextlib
import errno
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import PromptError, SamedgeError, SourceError
from samedge.live.camera import Camera
from samedge.live.following import Figures, Followed, follow
from samedge.live.frame import VideoFrame
from samedge.live.recording import Output, record
from samedge.live.sinks.base import Drawn
from samedge.runtimes.deadline import remaining_s, time_limit
from samedge.tracking.settings import TrackerSettings
from samedge.tracking.tracker import Tracker
from tests.live.scenes import COUNT, adds_up, images, prompts, tracker
from tests.tracking.toys import RED, ColourSegmenter, truth


def test_every_frame_of_a_recording_is_followed() -> None:
    with Camera(images(), drop=False) as camera:
        results = list(follow(camera, tracker(), prompts=prompts()))
    assert [one.frame.number for one in results] == list(range(COUNT))
    assert adds_up(camera)
    assert camera.counts.processed == COUNT
    assert all(one.age_ms >= 0 for one in results)


def test_a_recording_without_a_whole_frame_is_an_error(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with Camera(tmp_path, drop=False) as camera:
        frames = follow(camera, tracker(), prompts=prompts())
        with pytest.raises(SourceError, match=r"no frame to follow: 2 captured, 2 damaged"):
            next(frames)


def test_stopping_early_counts_what_was_tracked() -> None:
    with (
        Camera(images(50), drop=False) as camera,
        contextlib.closing(follow(camera, tracker(), prompts=prompts())) as results,
    ):
        for one in results:
            if one.frame.number == 3:
                break
    assert adds_up(camera)
    assert 4 <= camera.counts.processed <= 7


def test_drawing_happens_while_the_next_frame_is_tracked() -> None:
    model = ColourSegmenter()
    with Camera(images(), drop=False) as camera:
        for one in follow(camera, Tracker(model), prompts=prompts()):
            number = one.frame.number
            deadline = time.monotonic() + 600
            while number + 1 < COUNT and len(model.regions) < number + 2:
                assert time.monotonic() < deadline, "the next frame waits for the drawing"
                time.sleep(0.001)


def test_an_error_of_the_model_reaches_the_caller() -> None:
    class Broken(ColourSegmenter):
        def encode(self, image: np.ndarray, *, region: Any = None) -> np.ndarray:
            if len(self.regions) == 3:
                raise PromptError("the model broke")
            return super().encode(image, region=region)

    with Camera(images(), drop=False) as camera, pytest.raises(PromptError, match="broke"):
        for _ in follow(camera, Tracker(Broken()), prompts=prompts()):
            pass
    assert adds_up(camera)


def test_a_frame_of_another_size_is_followed() -> None:
    frames = images()
    for index in range(5, COUNT):
        frames[index] = np.asarray(Image.fromarray(frames[index]).resize((320, 240)))
    with Camera(frames, drop=False) as camera:
        results = list(follow(camera, tracker(), prompts=prompts()))
    assert results[-1].objects[0].mask.shape == (240, 320)
    assert results[0].objects[0].mask.shape == (120, 160)
    wanted = truth(frames[-1], RED)
    mask = results[-1].objects[0].mask
    assert (mask & wanted).sum() / (mask | wanted).sum() > 0.6


def test_every_and_ask_every_count_one_after_the_other() -> None:
    model = ColourSegmenter()
    settings = TrackerSettings(ask_every=2)
    with Camera(images(), drop=False, every=2) as camera:
        results = list(follow(camera, Tracker(model, settings=settings), prompts=prompts()))
    assert [one.frame.number for one in results] == [0, 2, 4, 6, 8, 10]
    asked = [one.objects[0].predicted_iou is not None for one in results]
    assert asked == [False, False, True, False, True, False]
    assert adds_up(camera)


def silent(first: np.ndarray, released: threading.Event) -> Iterator[np.ndarray]:
    yield first
    released.wait(600)


def test_the_time_is_up_while_no_frame_comes() -> None:
    released = threading.Event()
    with Camera(silent(images(1)[0], released), drop=False) as camera:
        result = record(camera, tracker(), prompts=prompts(), seconds=0.6)
        assert result.frames.processed == 1
        assert not result.interrupted
        released.set()


def test_the_time_is_up_before_the_first_frame() -> None:
    released = threading.Event()

    def never() -> Iterator[np.ndarray]:
        released.wait(600)
        yield from ()

    with Camera(never(), drop=False) as camera:
        with pytest.raises(SourceError, match="no frame to follow: 0 captured"):
            record(camera, tracker(), prompts=prompts(), seconds=0.3)
        released.set()


def test_closing_the_camera_ends_it_while_it_waits() -> None:
    released = threading.Event()
    with Camera(silent(images(1)[0], released), drop=False) as camera:
        results = follow(camera, tracker(), prompts=prompts())
        assert next(results).frame.number == 0
        threading.Timer(0.1, released.set).start()
        camera.close()
        assert list(results) == []
    assert adds_up(camera)


def test_a_time_limit_holds_in_the_thread_too() -> None:
    seen: list[float] = []

    class Asked(ColourSegmenter):
        def encode(self, image: np.ndarray, *, region: Any = None) -> np.ndarray:
            seen.append(remaining_s())
            return super().encode(image, region=region)

    with Camera(images(2), drop=False) as camera, time_limit(300):
        list(follow(camera, Tracker(Asked()), prompts=prompts()))
    assert len(seen) == 2
    assert all(0 < left <= 300 for left in seen)


def test_figures_give_percentiles_only_where_they_hold() -> None:
    figures = Figures()
    frame = VideoFrame(images(1)[0], 0, 100.0)
    for index in range(200):
        figures.add(Followed(frame, (), 100.0 + 0.01 * (index + 1), 1.0))
        if index == 99:
            assert figures.age_ms(95) is None
    assert figures.age_ms(50) == pytest.approx(1005, abs=6)
    assert figures.age_ms(95) == pytest.approx(1900, abs=11)
    assert figures.frames_per_s == pytest.approx(100, rel=0.01)
    assert Figures().age_ms(50) is None
    assert Figures().frames_per_s is None


def test_a_full_disk_ends_it_and_counts_still_add_up(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    outputs = [Output("coco", tmp_path / "kept.json"), Output("jsonl", Path("/dev/full"))]
    with Camera(images(), drop=False) as camera, pytest.raises((OSError, SamedgeError)) as caught:
        record(camera, tracker(), prompts=prompts(), outputs=outputs)
    assert "28" in str(caught.value) or "space" in str(caught.value)
    assert adds_up(camera)
    assert json.loads((tmp_path / "kept.json").read_text())["videos"][0]["length"] == 1


def test_a_disk_that_fills_under_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    from samedge.live.sinks import _video

    honest = _video._Movie.write

    def full(self: Any, drawn: Drawn) -> None:
        if drawn.followed.frame.number == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(self, drawn)

    monkeypatch.setattr(_video._Movie, "write", full)
    with Camera(images(), drop=False) as camera, pytest.raises((OSError, SamedgeError)):
        record(camera, tracker(), prompts=prompts(), outputs=[Output("video", tmp_path / "a.mp4")])
    assert adds_up(camera)
    assert list(tmp_path.iterdir()) == []  # a half video is none


def test_ctrl_c_finishes_the_files(tmp_path: Path) -> None:
    pytest.importorskip("av")
    outputs = [Output("video", tmp_path / "a.mp4"), Output("coco", tmp_path / "a.json")]

    def interrupt(one: Followed) -> None:
        if one.frame.number == 5:
            raise KeyboardInterrupt

    with Camera(images(), drop=False) as camera:
        result = record(camera, tracker(), prompts=prompts(), outputs=outputs, on_frame=interrupt)
    assert result.interrupted
    assert adds_up(camera)
    assert json.loads((tmp_path / "a.json").read_text())["videos"][0]["length"] == 6
    assert (tmp_path / "a.mp4").stat().st_size > 1000


def test_a_watcher_ends_it() -> None:
    seen: list[int] = []

    def watch(drawn: Drawn) -> bool:
        assert drawn.overlay is not None
        seen.append(drawn.followed.frame.number)
        return len(seen) < 4

    with Camera(images(), drop=False) as camera:
        record(camera, tracker(), prompts=prompts(), watchers=[watch])
    assert seen == [0, 1, 2, 3]
    assert adds_up(camera)
