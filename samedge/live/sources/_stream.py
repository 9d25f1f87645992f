"""Network streams, through PyAV: RTSP, RTMP, HTTP (MJPEG, HLS), UDP, SRT."""

from __future__ import annotations

from collections.abc import Generator

from samedge.live.sources import pyav
from samedge.live.sources.base import Grab, ReadOptions, Source

_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "udp", "tcp", "srt")
_READ_TIMEOUT_S = 5.0

_NO_BUFFER = {"fflags": "nobuffer", "flags": "low_delay"}
# UDP loses packets, which shows as grey blocks; cameras speak TCP too.
_RTSP = {"rtsp_transport": "tcp", **_NO_BUFFER}


class Stream(Source):
    """A stream by its address."""

    form = "an address such as rtsp://camera/stream"
    is_live = True

    def claims(self, spec: str) -> bool:
        """An address of a known scheme."""
        scheme, separator, _ = spec.partition("://")
        return bool(separator) and scheme.lower() in _SCHEMES

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        """Frames until the stream ends or is silent for five seconds."""
        return pyav.grabs(
            spec,
            options,
            library_options=_RTSP if spec.lower().startswith("rtsp") else _NO_BUFFER,
            timeout_s=_READ_TIMEOUT_S,
            low_delay=True,
        )


SOURCE = Stream()
