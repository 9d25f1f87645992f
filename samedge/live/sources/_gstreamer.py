"""GStreamer pipelines, for cameras that only it reads: CSI sensors of a Jetson, for one.

Through OpenCV where it was built with GStreamer (JetPack's is, the wheels of PyPI are not), else
through PyGObject. Neither is on PyPI with GStreamer inside; both come with the system.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from samedge.errors import BackendUnavailableError, SourceError
from samedge.live.sources.base import Grab, ReadOptions, Source

PREFIX = "gst:"
FIX = "sudo apt-get install python3-gi gstreamer1.0-plugins-good gir1.2-gst-plugins-base-1.0"
_RGB = " ! videoconvert ! video/x-raw,format=RGB ! appsink name=samedge {properties}"
_PROPERTIES = "max-buffers=1 drop=true sync=false"
_BGR = " ! videoconvert ! video/x-raw,format=BGR ! appsink " + _PROPERTIES
_PULL_TIMEOUT_NS = 5_000_000_000


class GStreamer(Source):
    """A pipeline in gst-launch's words; its sink is added where it names none."""

    form = "a GStreamer pipeline such as 'gst:nvarguscamerasrc ! nvvidconv'"
    is_live = True

    def claims(self, spec: str) -> bool:
        """The prefix ``gst:``, or the exclamation marks of a pipeline."""
        return spec.startswith(PREFIX) or " ! " in spec

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        """Frames until the pipeline ends."""
        del options  # the pipeline says it all
        pipeline = spec.removeprefix(PREFIX).strip()
        if _opencv_has_gstreamer():
            return _through_opencv(pipeline)
        return _through_gobject(pipeline)


def _opencv_has_gstreamer() -> bool:
    try:
        import cv2
    except ImportError:
        return False
    return any(
        line.split(":")[-1].strip().startswith("YES")
        for line in cv2.getBuildInformation().splitlines()
        if line.strip().startswith("GStreamer")
    )


def _through_opencv(pipeline: str) -> Generator[Grab, None, None]:
    import cv2

    whole = pipeline if "appsink" in pipeline else pipeline + _BGR
    capture = cv2.VideoCapture(whole, cv2.CAP_GSTREAMER)
    try:
        if not capture.isOpened():
            raise SourceError(
                f"OpenCV cannot open the pipeline {whole!r}: try it in gst-launch-1.0."
            )
        while True:
            read, frame = capture.read()
            if not read:
                return
            yield Grab(np.ascontiguousarray(frame[..., ::-1]))
    finally:
        capture.release()


def _gobject() -> Any:
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        from gi.repository import Gst, GstApp
    except (ImportError, ValueError) as error:
        raise BackendUnavailableError(
            "GStreamer needs an OpenCV that was built with it, or PyGObject, and neither is here "
            f"({error}): {FIX}"
        ) from error
    del GstApp  # imported so that the sink has its methods
    Gst.init(None)
    return Gst


def _through_gobject(pipeline: str) -> Generator[Grab, None, None]:
    gst = _gobject()
    whole = pipeline if "appsink" in pipeline else pipeline + _RGB.format(properties=_PROPERTIES)
    try:
        running = gst.parse_launch(whole)
    except Exception as error:  # GLib.Error, which only GLib can name
        raise SourceError(f"GStreamer cannot make the pipeline {whole!r}: {error}.") from error
    sink = running.get_by_name("samedge")
    if sink is None:
        raise SourceError(
            f"The appsink of {whole!r} has no name: write `appsink name=samedge`, or leave the "
            "sink away."
        )
    running.set_state(gst.State.PLAYING)
    try:
        while True:
            sample = sink.try_pull_sample(_PULL_TIMEOUT_NS)
            if sample is None:
                return
            yield _grab_from_sample(gst, sample)
    finally:
        running.set_state(gst.State.NULL)


def _grab_from_sample(gst: Any, sample: Any) -> Grab:
    buffer, caps = sample.get_buffer(), sample.get_caps().get_structure(0)
    height, width = caps.get_value("height"), caps.get_value("width")
    pts_s = None if buffer.pts == gst.CLOCK_TIME_NONE else buffer.pts / 1e9
    mapped, info = buffer.map(gst.MapFlags.READ)
    if not mapped:
        return Grab(None, pts_s)
    try:
        image = rgb_from_rows(bytes(info.data), height, width=width)
    finally:
        buffer.unmap(info)
    return Grab(image, pts_s)


def rgb_from_rows(data: bytes, height: int, *, width: int) -> np.ndarray[Any, Any] | None:
    """GStreamer's RGB rows, which it fills up to four bytes, as (H, W, 3); ``None`` for half."""
    stride = -(-width * 3 // 4) * 4
    if len(data) < stride * (height - 1) + width * 3:
        return None
    rows = np.frombuffer(data.ljust(stride * height, b"\0"), np.uint8, stride * height)
    return np.ascontiguousarray(rows.reshape(height, stride)[:, : width * 3]).reshape(
        height, width, 3
    )


SOURCE = GStreamer()
