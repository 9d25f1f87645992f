"""GStreamer pipelines, through stand-ins: no build with it is here."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

from samedge.errors import BackendUnavailableError, SourceError
from samedge.live.sources._gstreamer import rgb_from_rows
from samedge.live.sources.base import Grab
from tests.live.faulty import picture
from tests.live.movies import read


def test_gstreamer_without_any_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(BackendUnavailableError, match="apt-get install python3-gi"):
        read("gst:videotestsrc")


class _Capture:
    def __init__(self, pipeline: str, api: int) -> None:
        self.pipeline, self.left = pipeline, 3
        assert api == 1800

    def isOpened(self) -> bool:
        return "broken" not in self.pipeline

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return self.left >= 0, picture(max(self.left, 0))[..., ::-1]

    def release(self) -> None:
        self.left = -1


def test_gstreamer_through_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("cv2")
    module.getBuildInformation = lambda: "  Video I/O:\n    GStreamer:      YES (1.20.3)\n"
    module.VideoCapture, module.CAP_GSTREAMER = _Capture, 1800
    monkeypatch.setitem(sys.modules, "cv2", module)
    grabs = read("gst:nvarguscamerasrc ! nvvidconv")
    assert len(grabs) == 3
    np.testing.assert_array_equal(grabs[0].image, picture(2))
    with pytest.raises(SourceError, match="gst-launch"):
        read("gst:broken")


class _Buffer:
    def __init__(self, data: bytes, pts: int) -> None:
        self.data, self.pts, self.mapped = data, pts, False

    def map(self, flags: int) -> tuple[bool, Any]:
        assert flags == 1
        self.mapped = True
        return True, types.SimpleNamespace(data=self.data)

    def unmap(self, _info: Any) -> None:
        self.mapped = False


def fake_gi(buffers: list[_Buffer], states: list[str]) -> types.ModuleType:
    class Pipeline:
        def __init__(self, text: str) -> None:
            if "broken" in text:
                raise RuntimeError("no element broken")
            self.waiting = list(buffers)

        def get_by_name(self, name: str) -> Any:
            assert name == "samedge"
            return types.SimpleNamespace(try_pull_sample=self.pull)

        def pull(self, timeout_ns: int) -> Any:
            assert timeout_ns > 0
            if not self.waiting:
                return None
            buffer = self.waiting.pop(0)
            values = {"height": 48, "width": 63}
            structure = types.SimpleNamespace(get_value=values.get)
            caps = types.SimpleNamespace(get_structure=lambda _: structure)
            return types.SimpleNamespace(get_buffer=lambda: buffer, get_caps=lambda: caps)

        def set_state(self, state: str) -> None:
            states.append(state)

    gst = types.SimpleNamespace(
        init=lambda _: None,
        parse_launch=Pipeline,
        State=types.SimpleNamespace(PLAYING="playing", NULL="null"),
        MapFlags=types.SimpleNamespace(READ=1),
        CLOCK_TIME_NONE=2**64 - 1,
    )
    gi: Any = types.ModuleType("gi")
    gi.require_version = lambda *_: None
    gi.repository = types.ModuleType("gi.repository")
    gi.repository.Gst, gi.repository.GstApp = gst, object()
    return gi  # type: ignore[no-any-return]


def rows_of(image: np.ndarray) -> bytes:
    """GStreamer's layout: each row filled up to four bytes."""
    width = image.shape[1] * 3
    return b"".join(row.tobytes() + bytes(-width % 4) for row in image)


def test_gstreamer_through_pygobject(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(5)[:, :63]
    states: list[str] = []
    buffers = [_Buffer(rows_of(image), 40_000_000), _Buffer(b"half", 2**64 - 1)]
    gi = fake_gi(buffers, states)
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "gi", gi)
    monkeypatch.setitem(sys.modules, "gi.repository", gi.repository)
    whole, half = read("gst:videotestsrc")
    np.testing.assert_array_equal(whole.image, image)
    assert whole.pts_s == pytest.approx(0.04)
    assert half == Grab(None, None)
    assert states == ["playing", "null"]
    assert not any(buffer.mapped for buffer in buffers)
    with pytest.raises(SourceError, match="cannot make the pipeline"):
        read("gst:broken")


def test_rows_are_filled_up_to_four_bytes() -> None:
    image = picture(1)[:, :61]
    data = rows_of(image)
    np.testing.assert_array_equal(rgb_from_rows(data, 48, width=61), image)
    last = len(data) - (-61 * 3 % 4)  # the last row may come without its filling
    np.testing.assert_array_equal(rgb_from_rows(data[:last], 48, width=61), image)
    assert rgb_from_rows(data[: last - 1], 48, width=61) is None
