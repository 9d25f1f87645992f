"""Cameras on this machine, through PyAV: Video4Linux on Linux, AVFoundation on macOS."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from pathlib import Path

from samedge.live.sources import pyav
from samedge.live.sources.base import Grab, ReadOptions, Source

_READ_TIMEOUT_S = 5.0


class Webcam(Source):
    """A camera by its number, or by its device on Linux."""

    form = "a camera's number such as 0, or /dev/video0"
    is_live = True

    def claims(self, spec: str) -> bool:
        """A number, or a device file."""
        if re.fullmatch(r"\d{1,3}", spec):
            return not Path(spec).exists()  # a file or folder of that name is meant then
        return re.fullmatch(r"/dev/video\d+", spec) is not None

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        """Frames until the camera goes."""
        wishes = {}
        if options.size is not None:
            wishes["video_size"] = f"{options.size[1]}x{options.size[0]}"
        if options.fps is not None:
            wishes["framerate"] = f"{options.fps:g}"
        is_mac = sys.platform == "darwin"
        device = spec if is_mac or spec.startswith("/") else f"/dev/video{spec}"
        return pyav.grabs(
            device,
            options,
            container_format="avfoundation" if is_mac else "v4l2",
            library_options=wishes,
            timeout_s=_READ_TIMEOUT_S,
            low_delay=True,
        )


SOURCE = Webcam()
