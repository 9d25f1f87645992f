"""Each kind of source on real files, or on a stand-in for the library that it needs."""

from __future__ import annotations

import contextlib
import http.server
import io
import shutil
import struct
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import BackendUnavailableError, SourceError
from samedge.live import sources
from samedge.live.camera import Camera
from samedge.live.sources import pyav
from samedge.live.sources._gstreamer import rgb_from_rows
from samedge.live.sources.base import Grab, ReadOptions
from samedge.live.watch import WatchSettings
from tests.live.faulty import picture

SIZE = (96, 128)
COUNT, FPS = 24, 30


def colour(index: int) -> tuple[int, int, int]:
    return 40 + 8 * index, 200 - 6 * index, 120


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose frames are each of one colour of their own."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("movies") / "movie.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.height, stream.width = SIZE
        stream.bit_rate = 8_000_000
        stream.pix_fmt = "yuv420p"
        for index in range(COUNT):
            image = np.full((*SIZE, 3), colour(index), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def quarters(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of one picture whose four quarters have colours of their own."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("movies") / "quarters.mp4"
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:48, :64], image[:48, 64:], image[48:, :64] = (220, 0, 0), (0, 220, 0), (0, 0, 220)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.height, stream.width = SIZE
        stream.bit_rate = 8_000_000
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def read(spec: str, **options: Any) -> list[Grab]:
    _, source = sources.find(spec)
    with contextlib.closing(source.grabs(spec, ReadOptions(**options))) as grabs:
        return list(grabs)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("0", "webcam"),
        ("/dev/video12", "webcam"),
        ("rtsp://a/b", "stream"),
        ("HTTPS://a/b.mjpg", "stream"),
        ("gst:videotestsrc", "gstreamer"),
        ("videotestsrc ! videoscale", "gstreamer"),
        ("python:a.b:c", "python"),
    ],
)
def test_what_a_name_means(spec: str, name: str) -> None:
    assert sources.find(spec)[0] == name


Turn = tuple[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]
TURNS: dict[str, Turn] = {  # a, b, c, d of the track's matrix, and what it does to a picture
    "as stored": ((1, 0, 0, 1), lambda image: image),
    "clockwise, a phone held upright": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "upside down": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "counterclockwise": ((0, -1, 1, 0), lambda image: np.rot90(image)),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "mirrored, upside down": ((1, 0, 0, -1), lambda image: image[::-1]),
    "mirrored, a quarter": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    "mirrored, three quarters": ((0, -1, -1, 0), lambda i: np.rot90(i, 2).transpose(1, 0, 2)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_video_is_turned_as_players_turn_it(quarters: bytes, tmp_path: Path, turn: str) -> None:
    (a, b, c, d), shown = TURNS[turn]
    stored = quarters
    at = stored.index(b"tkhd") + 4 + 40  # the matrix of the track's header, 16.16
    matrix = struct.pack(">9i", *(v << 16 for v in (a, b)), 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    (tmp_path / "as_stored.mp4").write_bytes(stored)
    (tmp_path / "turned.mp4").write_bytes(stored[:at] + matrix + stored[at + 36 :])
    plain = read(str(tmp_path / "as_stored.mp4"))[0].image
    assert plain is not None
    for grab in read(str(tmp_path / "turned.mp4")):
        assert grab.image is not None
        assert np.array_equal(grab.image, shown(plain))
        assert grab.image.flags.c_contiguous


def test_every_kind_says_what_it_reads() -> None:
    assert set(sources.names()) == {"file", "folder", "gstreamer", "python", "stream", "webcam"}
    for name in sources.names():
        source = sources.get(name)
        assert source.form
        assert not source.claims("no such thing")


def test_a_file_gives_all_frames_with_their_times(movie: Path) -> None:
    grabs = read(str(movie))
    assert len(grabs) == COUNT
    for index, grab in enumerate(grabs):
        assert grab.image is not None
        assert grab.image.shape == (*SIZE, 3)
        assert grab.pts_s == pytest.approx(index / FPS, abs=1e-3)
        np.testing.assert_allclose(grab.image.mean((0, 1)), colour(index), atol=6)


def test_a_file_with_a_hole_goes_on_after_it(movie: Path, tmp_path: Path) -> None:
    data = bytearray(movie.read_bytes())
    start = data.index(b"mdat") + 4
    middle = start + (len(data) - start) // 3
    data[middle : middle + 200] = bytes(200)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(bytes(data))
    grabs = read(str(broken))
    assert 0 < sum(grab.image is not None for grab in grabs) <= COUNT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no video but empty: fetch or save it again"),
        (
            b"<!doctype html><html>log in</html>",
            r"is no video but a web page \(HTML\): the address",
        ),
        (b"version https://git-lfs.github.com/spec/v1", "is no video but a Git LFS pointer"),
        (b"no video at all", "is not read as video: Invalid data.*Give a video that FFmpeg plays"),
        (bytes(4000), "is not read as video: Invalid data.*Give a video that FFmpeg plays"),
    ],
)
def test_what_is_no_video_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    pytest.importorskip("av")
    path = tmp_path / "strange.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"strange.mp4 " + said) as caught:
        read(str(path))
    assert "Errno" not in str(caught.value)


def test_a_video_without_one_whole_frame_is_an_error(quarters: bytes, tmp_path: Path) -> None:
    start = quarters.index(b"mdat") + 4
    size = int.from_bytes(quarters[start - 8 : start - 4], "big") - 8
    (tmp_path / "noise.mp4").write_bytes(
        quarters[:start] + b"\xaa" * size + quarters[start + size :]
    )
    with pytest.raises(SourceError, match=r"noise\.mp4 is not read as video: it holds no frame"):
        read(str(tmp_path / "noise.mp4"))


def test_a_password_stays_out_of_errors() -> None:
    pytest.importorskip("av")
    with (
        Camera("rtsp://robot:se@cret@127.0.0.1:1/x") as camera,
        pytest.raises(SourceError, match=r"^rtsp://127\.0\.0\.1:1/x cannot be opened") as caught,
    ):
        camera.take()
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "matrix", "said", "kept"),
    [
        ((96, 128), 6, (6, 1), True),
        ((720, 1280), 1, (1, 1), True),
        ((96, 128), 1, (1, 2), True),
        ((720, 1280), 6, (2, 0), True),  # BT.601 where nothing is said, as FFmpeg has it
        ((720, 1280), 1, (2, 0), False),
    ],
)
def test_colours_are_those_that_the_file_says(
    tmp_path: Path, size: tuple[int, int], matrix: int, said: tuple[int, int], kept: bool
) -> None:
    av = pytest.importorskip("av", minversion="17")
    path, wanted = tmp_path / "red.mkv", np.array((200, 60, 40))
    picture = av.VideoFrame.from_ndarray(np.full((*size, 3), wanted, np.uint8), format="rgb24")
    wide = {"dst_colorspace": matrix, "dst_color_range": said[1] or 1}
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=FPS)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = said
        frame = picture.reformat(format="yuv420p", **wide)
        frame.colorspace, frame.color_range = said
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (grab,) = read(str(path))
    assert grab.image is not None
    off = np.abs(grab.image[10, 10] - wanted).max()
    assert (off <= 3) if kept else (off >= 10)


def test_a_sound_file_has_no_video(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "sound.wav"
    with av.open(path, "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(SourceError, match="no video stream"):
        read(str(path))


def test_a_recording_without_its_index_is_named(movie: Path, tmp_path: Path) -> None:
    """As cameras leave it that lose their power: FFmpeg cannot mend that."""
    cut = tmp_path / "cut.mp4"
    data = movie.read_bytes()
    cut.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(SourceError, match=r"ends before its index \(moov\).*copy it again"):
        read(str(cut))
    cut.write_bytes(data[:60])
    with pytest.raises(SourceError, match="ends before its index"):
        read(str(cut))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "mpeg4", {"movflags": "faststart"}),
        ("a.mp4", "mpeg4", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mkv", "mpeg4", {}),
        ("a.avi", "mpeg4", {}),
        ("a.wmv", "wmv2", {}),
        ("a.flv", "flv", {}),
        ("a.mpg", "mpeg2video", {}),
        ("a.m2v", "mpeg2video", {}),
        ("a.ts", "mpeg2video", {}),
        ("a.m2ts", "mpeg2video", {"mpegts_m2ts_mode": "1"}),
        ("a.h264", "libx264", {}),
    ],
)
def test_a_download_that_stopped_is_read_and_said(
    name: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    """FFmpeg ends there as at the end of a whole file."""
    av = pytest.importorskip("av")
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    path = tmp_path / name
    with av.open(path, "w", options=options) as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width = SIZE
        for index in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    source = sources.get("file")
    assert len(list(source.grabs(str(path), ReadOptions()))) == COUNT
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3 - 7])
    grabs: list[Grab] = []
    with pytest.raises(SourceError, match="ends too early"):
        grabs.extend(source.grabs(str(path), ReadOptions()))
    assert 0 < len(grabs) < COUNT


def test_what_stands_behind_whole_packets_is_no_cut(tmp_path: Path) -> None:
    """Recorders fill MPEG-TS up with zeros, to blocks of the disk."""
    av = pytest.importorskip("av")
    path = tmp_path / "a.ts"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg2video", rate=FPS)
        stream.height, stream.width = SIZE
        for index in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert len(read(str(path))) == COUNT


def test_frames_without_times_come_at_the_rate_of_the_file(tmp_path: Path) -> None:
    """Raw H.264, as a Raspberry Pi's camera writes it: the drawn video was timed by the clock."""
    av = pytest.importorskip("av")
    if "libx264" not in av.codecs_available:
        pytest.skip("this build of PyAV writes no H.264")
    path = tmp_path / "a.h264"
    with av.open(path, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=50)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(path) as container:
        rate = float(container.streams.video[0].average_rate)
    times = [grab.pts_s for grab in sources.get("file").grabs(str(path), ReadOptions())]
    assert times == pytest.approx([index / rate for index in range(COUNT)])


def test_a_page_in_a_videos_place_is_named(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "a.mp4").write_text("<!doctype html><html>", encoding="utf-8")
    with pytest.raises(SourceError, match="download the video itself"):
        read(str(tmp_path / "a.mp4"))


def test_a_folder_of_videos_is_told_from_one_of_frames(movie: Path, tmp_path: Path) -> None:
    shutil.copy(movie, tmp_path / "a.mp4")
    with pytest.raises(SourceError, match=r"name one of its 1 videos, such as .*a\.mp4"):
        read(str(tmp_path))
    Image.new("RGB", (32, 16)).save(tmp_path / "cover.png")
    assert len(read(str(tmp_path))) == 1
    (remark,) = sources.get("folder").remarks(str(tmp_path))
    assert "left out 1 (a.mp4): videos" in remark
    assert "its pictures are the frames" in remark


def test_a_file_that_is_not_there_is_told_as_that() -> None:
    with pytest.raises(SourceError, match=r"gone\.mp4' .* no such file or folder, check the path"):
        sources.find("videos/gone.mp4")
    with pytest.raises(SourceError, match=r"'camera' is no source of video that is here\. Exp"):
        sources.find("camera")


def test_no_such_hardware_decoder(movie: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="no hardware decoder 'abacus'"):
        read(str(movie), hardware="abacus")


def test_without_pyav_the_install_line_is_said(
    movie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'samedge\[video\]'"):
        read(str(movie))


def test_that_error_crosses_the_capture_process(
    movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "av.py").write_text("raise ImportError('no av here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Camera(movie) as camera, pytest.raises(BackendUnavailableError, match="no av here"):
        camera.take()


def test_a_camera_reads_a_file_whole(movie: Path) -> None:
    with Camera(movie) as camera:
        numbers = [frame.number for frame in camera]
    assert numbers == list(range(COUNT))
    assert camera.counts.dropped == 0
    assert not camera.is_live


def test_a_recording_may_come_slowly(movie: Path) -> None:
    hasty = WatchSettings(open_s=1e-3, stalled_s=1e-3)
    with Camera(movie, watch=hasty) as camera:
        assert sum(1 for _ in camera) == COUNT
    hung = WatchSettings(recording_s=1e-3)
    with (
        Camera(movie, watch=hung) as camera,
        pytest.raises(SourceError, match=r"no frame for 0\.001"),
    ):
        camera.take()


def test_a_file_can_be_played_at_its_pace(movie: Path) -> None:
    with Camera(movie, drop=True) as camera:
        stamps = [frame.captured_s for frame in camera]
    assert camera.counts.captured == COUNT
    assert stamps[-1] - stamps[0] == pytest.approx((COUNT - 1) / FPS, abs=0.15)


def test_a_folder_in_the_order_of_names(tmp_path: Path) -> None:
    for index in (2, 0, 1):
        Image.fromarray(picture(index)).save(tmp_path / f"{index:03d}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "003.png").write_bytes(b"half a picture")
    grabs = read(str(tmp_path), fps=10)
    assert [grab.pts_s for grab in grabs] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert grabs[3].image is None
    for index in range(3):
        np.testing.assert_array_equal(grabs[index].image, picture(index))


def test_names_of_pictures_count_as_people_count(tmp_path: Path) -> None:
    for index in (10, 9, 1, 2):
        Image.fromarray(picture(index)).save(tmp_path / f"f{index}.png")
    (tmp_path / "._f1.png").write_bytes(b"what macOS keeps beside a file")
    grabs = read(str(tmp_path))
    assert len(grabs) == 4
    for index, grab in zip((1, 2, 9, 10), grabs, strict=True):
        assert grab.image is not None
        np.testing.assert_array_equal(grab.image, picture(index))


def test_a_name_with_a_colon_is_a_file(movie: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("12:30:00.mp4", "http:a.mp4"):
        Path(name).write_bytes(movie.read_bytes())
        assert len(read(name)) == COUNT


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "song.mp3"
    with av.open(path, "w") as container:
        sound = container.add_stream("mp3", rate=44100)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        image = np.full((64, 64, 3), 90, np.uint8)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(cover.encode())
        silence = np.zeros((1, 4096), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(SourceError, match="a cover picture alone"):
        read(str(path))


def test_a_frame_with_data_that_this_pyav_has_no_name_for(quarters: bytes, tmp_path: Path) -> None:
    class Unnamed:
        """What PyAV raises while it lists a frame's data, such as a JPEG's EXIF."""

        def __init__(self, frame: Any) -> None:
            self.rotation = frame.rotation

        @property
        def side_data(self) -> Any:
            raise ValueError("31 is not a valid Type")

    av = pytest.importorskip("av")
    at = quarters.index(b"tkhd") + 4 + 40
    for a, b, c, d in ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)):
        matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        path = tmp_path / f"{a}{b}.mp4"
        path.write_bytes(quarters[:at] + matrix + quarters[at + 36 :])
        with av.open(path) as container:
            frame = next(container.decode(video=0))
        stored = frame.to_ndarray(format="rgb24")
        named, unnamed = (pyav._display_matrix(one) for one in (frame, Unnamed(frame)))
        assert np.array_equal(pyav.upright(stored, unnamed), pyav.upright(stored, named))


def test_a_gap_among_the_frames_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in (1, 2, 5, 6):
        Image.fromarray(picture(index)).save(tmp_path / f"f{index:03d}.png")
    with Camera(tmp_path) as camera:
        assert len(list(camera)) == 4
    remarks = [event.message for event in camera.events if event.kind == "remark"]
    assert len(remarks) == 1
    assert remarks[0].startswith(f"{tmp_path}: of its numbered pictures 2 are missing (003 to 004)")
    assert caplog.text.count("numbered pictures") == 1


@pytest.mark.parametrize("spec", ["frames/%04d.png", "frames/*.jpg"])
def test_a_pattern_of_names_is_told_from_a_missing_file(spec: str) -> None:
    with pytest.raises(SourceError, match="pattern of names, give the folder of the pictures"):
        sources.find(spec)


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no picture"):
        read(str(tmp_path))


def test_a_webcam_that_is_not_there() -> None:
    pytest.importorskip("av")
    with pytest.raises(SourceError, match=r"cannot be opened|no input"):
        read("99")


class _Mjpeg(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(COUNT):
            part = io.BytesIO()
            Image.new("RGB", (SIZE[1], SIZE[0]), colour(index)).save(part, "JPEG")
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {part.tell()}\r\n\r\n"
            self.wfile.write(head.encode() + part.getvalue() + b"\r\n")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def mjpeg_address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Mjpeg)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/stream.mjpg"
    server.shutdown()
    server.server_close()


def test_a_network_stream(mjpeg_address: str) -> None:
    pytest.importorskip("av")
    images = []
    with contextlib.suppress(SourceError):  # the server hangs up at the end
        for grab in sources.get("stream").grabs(mjpeg_address, ReadOptions()):
            images.append(grab.image)
    assert len(images) >= COUNT - 2  # the last part may be cut
    assert images[0] is not None
    np.testing.assert_allclose(images[0].mean((0, 1)), colour(0), atol=6)


def test_a_python_source_that_is_not_there() -> None:
    with pytest.raises(SourceError, match="cannot be imported"):
        read("python:tests.live.faulty:nothing")
    with pytest.raises(SourceError, match="is not python:module:function"):
        read("python:nothing")


# ---- GStreamer, through stand-ins: no build with it is here


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
