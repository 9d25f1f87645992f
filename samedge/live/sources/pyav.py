"""PyAV, which the sources of files, cameras and streams share: FFmpeg with timestamps a frame."""

from __future__ import annotations

import collections
import contextlib
import math
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samedge.errors import BackendUnavailableError, SourceError
from samedge.files import kinds
from samedge.live.sources import endings
from samedge.live.sources.base import Grab, ReadOptions
from samedge.live.sources.declared_size import has_index, missing_bytes
from samedge.pixels import image_kinds
from samedge.types import Array

if TYPE_CHECKING:
    from av.container import InputContainer

INSTALL = "pip install 'samedge[video]'"
_USUAL_RATE = 25.0  # FFmpeg's own, of a file that says none
_BARE = ("mpegts", "mpegvideo", "h264", "hevc", "m4v", "mjpeg")  # frame after frame, and no more
_REORDERED = 3  # frames that may come behind the one that is read last
_MOST_DAMAGED_AT_START = 500  # packets without one whole frame: not a video that can be read


def library() -> Any:
    """The module ``av``.

    Raises:
        BackendUnavailableError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise BackendUnavailableError(
            f"Reading video needs PyAV, which is not here ({error}): {INSTALL}"
        ) from error
    return av


def grabs(
    where: str,
    options: ReadOptions,
    *,
    container_format: str | None = None,
    library_options: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    low_delay: bool,
) -> Generator[Grab, None, None]:
    """Frames of anything that FFmpeg opens.

    Args:
        where: path, device or address.
        options: wishes; size and frame rate are the caller's to put into ``library_options``.
        container_format: FFmpeg's name of the format or device; ``None`` looks at the content.
        library_options: FFmpeg's own options of it.
        timeout_s: longest wait for the opening and for each packet.
        low_delay: decode each frame at once, rather than several side by side.

    Raises:
        SourceError: it cannot be opened, has no video, or ended in an error.
        BackendUnavailableError: PyAV is missing, or the hardware decoder is.
    """
    av = library()
    acceleration = _acceleration(av, options.hardware)
    is_file = os.path.isfile(where)  # noqa: PTH113 - any text is asked about
    try:
        container = av.open(
            # What is before a colon in a name, as in a recording's time, would be a protocol.
            os.path.abspath(where) if is_file else where,  # noqa: PTH100 - FFmpeg takes text
            format=container_format,
            options=dict(library_options or {}),
            timeout=timeout_s,
            hwaccel=acceleration,
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise SourceError(_no_video(where, getattr(error, "strerror", "") or str(error))) from error
    with container:
        stream = _stream(av, container, where)
        end = _End(container.format.name)
        found = _decoded(av, container, stream, where, options, low_delay=low_delay, end=end)
        yield from _with_times(found, stream) if is_file else found
    if is_file:
        endings.check_whole(Path(where), is_cut=end.is_cut, read_to=end.read_to)


class _End:
    """How a file ends, of those that do not say how long they are.

    Attributes:
        is_bare: the stream lies in no container.
        is_cut: FFmpeg found less of one of the last two packets than that is long, or one of the
            last frames of a bare stream is damaged and earlier ones are whole.
        read_to: where its last packet ends; ``None`` where FFmpeg does not say.
    """

    def __init__(self, format_name: str) -> None:
        self.is_bare = format_name in _BARE
        self._packets: collections.deque[bool] = collections.deque(maxlen=2)
        self._frames: collections.deque[bool] = collections.deque(maxlen=_REORDERED)
        self._has_whole = False
        self.read_to: int | None = None

    def add_packet(self, packet: Any) -> None:
        if packet.size:
            self._packets.append(packet.is_corrupt and not self.is_bare)
            self.read_to = None if packet.pos is None else packet.pos + packet.size

    def add_frame(self, grab: Grab) -> None:
        self._has_whole |= grab.image is not None
        self._frames.append(grab.image is None and self._has_whole and self.is_bare)

    @property
    def is_cut(self) -> bool:
        return any(self._packets) or any(self._frames)


def _stream(av: Any, container: InputContainer, where: str) -> Any:
    """The stream that players show: FFmpeg's best one, and never a cover picture."""
    cover = av.stream.Disposition.attached_pic
    moving = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not moving:
        has_cover = bool(container.streams.video)
        reason = (
            "of video it holds a cover picture alone" if has_cover else "it holds no video stream"
        )
        raise SourceError(_no_video(where, reason))
    best = container.streams.best("video")
    return best if best in moving else moving[0]


def _no_video(where: str, reason: str) -> str:
    """Why something cannot be opened, with what to do: a file is named as what it is."""
    if not os.path.isfile(where):  # noqa: PTH113 - any text is asked about
        return (
            f"{where} cannot be opened as video: {reason}. See that it is switched on, reachable "
            "and not in use, and that address, user and password are right."
        )
    with open(where, "rb") as file:  # noqa: PTH123
        head = file.read(kinds.HEAD_BYTES)
        has_no_index = head[4:8] == b"ftyp" and not has_index(file)
    kind = kinds.kind_of(head)
    if kind is not None and (kind.is_of_transfer or kind is kinds.JSON):
        what, remedy = image_kinds.description(head)
        return f"{where} is no video but {what}: {remedy.replace('the image', 'the video')}."
    if has_no_index:
        return (
            f"{where} ends before its index (moov), without which its frames cannot be found: copy "
            "it again. Where the recording itself was cut off, a repair tool such as untrunc "
            "needs a whole video of the same camera."
        )
    missing = missing_bytes(Path(where))
    if missing:
        return (
            f"{where} is not read as video: {reason}, and {missing} bytes that it says it has are "
            "not there. Copy or download it again."
        )
    return (
        f"{where} is not read as video: {reason}. Give a video that FFmpeg plays, or a folder of "
        "pictures; a file that was cut off may be mended by `ffmpeg -i IN -c copy OUT.mkv`."
    )


def _acceleration(av: Any, hardware: str | None) -> Any:
    if hardware is None:
        return None
    known = av.codec.hwaccel.hwdevices_available()
    if hardware not in known:
        here = ", ".join(known) or "none"
        raise BackendUnavailableError(
            f"This build of PyAV has no hardware decoder {hardware!r}; here: {here}. Leave "
            "the option away to decode on the processor, or build PyAV with it: "
            "pip install av --no-binary av"
        )
    return av.codec.hwaccel.HWAccel(device_type=hardware, allow_software_fallback=False)


def _decoded(
    av: Any,
    container: InputContainer,
    stream: Any,
    where: str,
    options: ReadOptions,
    *,
    low_delay: bool,
    end: _End,
) -> Generator[Grab, None, None]:
    # Several frames at once lose, now and then, that the last one is damaged: all that tells of a
    # bare stream's cut.
    stream.thread_type = "SLICE" if low_delay or end.is_bare else "AUTO"
    if options.threads is not None:
        stream.codec_context.thread_count = options.threads
    whole = damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            raise SourceError(f"{where} broke off: {error}.") from error
        except IndexError:  # at the end, PyAV flushes streams that began later, and knows them not
            packet = None
        if packet is None:
            break
        end.add_packet(packet)
        try:
            frames = packet.decode()
        except av.error.EOFError:
            break
        except av.error.FFmpegError as error:
            damaged += 1
            if not whole and damaged >= _MOST_DAMAGED_AT_START:
                raise SourceError(_no_video(where, "it holds no frame that decodes")) from error
            end.add_frame(Grab(None))
            yield Grab(None)
            continue
        for frame in frames:
            grab = _grab(frame)
            whole += grab.image is not None
            end.add_frame(grab)
            yield grab
    if not whole:
        raise SourceError(_no_video(where, "it holds no frame that decodes"))


def _with_times(grabs: Generator[Grab, None, None], stream: Any) -> Generator[Grab, None, None]:
    """Frames of a file that holds none of their times, as raw H.264, at the rate that it says."""
    rate = float(stream.average_rate or stream.guessed_rate or _USUAL_RATE)
    due_s = 0.0
    with contextlib.closing(grabs):
        for grab in grabs:
            at_s = due_s if grab.pts_s is None else grab.pts_s
            due_s = at_s + 1 / rate
            yield grab._replace(pts_s=at_s)


def _grab(frame: Any) -> Grab:
    pts_s = None if frame.time is None else float(frame.time)
    if frame.is_corrupt:
        return Grab(None, pts_s)
    return Grab(upright(frame.to_ndarray(format="rgb24"), _display_matrix(frame)), pts_s)


def _display_matrix(frame: Any) -> Array | None:
    try:
        found = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # the frame has data of a kind that this PyAV has no name for
        return _turn(frame.rotation)
    return None if found is None else np.frombuffer(bytes(found), np.int32).reshape(3, 3)


def _turn(degrees: int) -> Array | None:
    """The display matrix of a turn against the clock, which is all that is left of one."""
    if not degrees:
        return None
    turn = math.radians(degrees)
    c, s = round(math.cos(turn) * (1 << 16)), round(math.sin(turn) * (1 << 16))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1 << 30]], np.int32)


def upright(image: Array, matrix: Array | None) -> Array:
    """A frame as players show it: phones record sideways, and write down how to turn it.

    Turns are by quarters, the nearest one, and mirrors; other angles would need new pixels.

    Args:
        image: (H, W, 3) as it was stored.
        matrix: (3, 3) int32, FFmpeg's display matrix (``libavutil/display.h``), which takes a
            stored ``(x, y, 1)`` from the left to where it is shown; ``None`` leaves it as it is.

    Returns:
        (H, W, 3) or (W, H, 3), contiguous.
    """
    if matrix is None:
        return image
    (a, b), (c, d) = matrix[:2, :2].astype(np.int64).tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.transpose(1, 0, 2), c, b
    image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(image)
