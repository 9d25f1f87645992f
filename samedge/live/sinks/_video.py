"""An overlay video, through PyAV: the masks drawn on the frames, at the frames' own times."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from samedge.errors import BackendUnavailableError
from samedge.files.writing import replacing
from samedge.live.sinks.base import Drawn, Recording, Sink
from samedge.live.sources import pyav

_ENCODERS = ("libx264", "h264_videotoolbox", "libopenh264", "mpeg4")
_TICKS_A_SECOND = 1000
_ORDER_TICKS = 200  # a step back of less is frames out of order, not another clock
_BITS_A_PIXEL = 4  # a second, at thirty frames: good enough to judge a mask's edge
_DEFAULT_FPS = 30.0
_BT709, _BT601, _LIMITED = 1, 6, 1  # ITU-T H.273, as FFmpeg counts, too


class _Movie(Recording):
    """Opens the encoder with the first frame, whose size it takes."""

    def __init__(self, container: Any, fps: float | None) -> None:
        self._container, self._fps = container, fps or _DEFAULT_FPS
        self._stream: Any = None
        self._origin: float | None = None  # ticks of the source's clock at the file's start
        self._tick_before, self._step = -1, max(1, round(_TICKS_A_SECOND / self._fps))
        self._count = 0

    def write(self, drawn: Drawn) -> None:
        assert drawn.overlay is not None
        av = pyav.library()
        if self._stream is None:
            self._stream = self._encoder(drawn.overlay.shape[0], drawn.overlay.shape[1])
        size = self._stream.height, self._stream.width
        picture = av.VideoFrame.from_ndarray(_fitted(drawn.overlay, size), format="rgb24")
        frame = picture.reformat(
            format=self._stream.pix_fmt, dst_colorspace=_matrix(size), dst_color_range=_LIMITED
        )
        frame.pts, frame.time_base = self._tick(drawn), Fraction(1, _TICKS_A_SECOND)
        self._container.mux(self._stream.encode(frame))

    @property
    def has_frames(self) -> bool:
        """Whether there is anything to keep."""
        return self._stream is not None

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())

    def _encoder(self, height: int, width: int) -> Any:
        av = pyav.library()
        name = next((name for name in _ENCODERS if name in av.codecs_available), None)
        if name is None:
            raise BackendUnavailableError(
                f"This build of PyAV encodes no H.264 and no MPEG-4: {pyav.INSTALL}"
            )
        stream = self._container.add_stream(name, rate=round(self._fps))
        stream.width, stream.height = max(2, width // 2 * 2), max(2, height // 2 * 2)
        stream.pix_fmt = "yuv420p"
        coder = stream.codec_context
        coder.colorspace = _matrix((stream.height, stream.width))
        coder.color_range, coder.color_primaries, coder.color_trc = _LIMITED, _BT709, _BT709
        stream.bit_rate = max(200_000, width * height * _BITS_A_PIXEL)
        stream.codec_context.time_base = Fraction(1, _TICKS_A_SECOND)
        return stream

    def _tick(self, drawn: Drawn) -> int:
        """The frame's own time, and later than the one before.

        Where the source's clock goes back, as of a camera that was opened again or of recordings
        put together, the file's goes on as before.
        """
        frame = drawn.followed.frame
        ticks = (frame.captured_s if frame.pts_s is None else frame.pts_s) * _TICKS_A_SECOND
        if self._origin is None:
            self._origin = ticks
        if ticks - self._origin < self._tick_before - _ORDER_TICKS:
            self._origin = ticks - self._tick_before - self._step
        tick = max(self._tick_before + 1, round(ticks - self._origin))
        if self._tick_before >= 0:
            self._step = min(tick - self._tick_before, _TICKS_A_SECOND)
        self._tick_before = tick
        return tick


def _matrix(size: tuple[int, int]) -> int:
    """The matrix that players expect of a size; it also stands in the file."""
    height, width = size
    return _BT709 if width >= 1280 or height > 576 else _BT601


def _fitted(image: Any, size: tuple[int, int]) -> Any:
    if image.shape[:2] == size:
        return image
    if image.shape[0] - size[0] in (0, 1) and image.shape[1] - size[1] in (0, 1):
        return np.ascontiguousarray(image[: size[0], : size[1]])  # codecs want even sides
    # A camera that came back with another size: all of the picture, in its own shape.
    picture = ImageOps.pad(Image.fromarray(image), (size[1], size[0]))
    return np.asarray(picture)


class Video(Sink):
    """MP4, Matroska or MOV, by the file's ending."""

    endings = (".mp4", ".mkv", ".mov")
    draws = True

    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        """See :meth:`Sink.open`."""
        av = pyav.library()
        interruption: BaseException | None = None
        with replacing(path) as temporary, av.open(str(temporary), "w") as container:
            movie = _Movie(container, fps)
            try:
                yield movie
            except BaseException as error:
                if isinstance(error, OSError) or not movie.has_frames:
                    raise
                interruption = error  # the file is finished first: what was followed is kept
            movie.finish()
        if interruption is not None:
            raise interruption


SINK = Video()
