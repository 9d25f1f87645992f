"""Video files of every kind: whole, turned, cut off, damaged, or none at all."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import BackendUnavailableError, SourceError
from samedge.live import sources
from samedge.live.camera import Camera
from samedge.live.sources import pyav
from samedge.live.sources.base import Grab, ReadOptions
from samedge.live.watch import WatchSettings
from tests.live.faulty import picture
from tests.live.movies import COUNT, FPS, SIZE, colour, read

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


def test_pictures_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for index in range(16):
        Image.fromarray(picture(index)).save(tmp_path / f"f{index:02d}.png")
        if index % 5:
            (tmp_path / f"f{index:02d}.png").write_bytes(b"no picture")
    with Camera(tmp_path) as camera:
        assert len(list(camera)) == 4
    remarks = [event.message for event in camera.events if event.kind == "remark"]
    assert len(remarks) == 10
    assert remarks[0].startswith(f"{tmp_path / 'f01.png'} is not an image")
    assert remarks[0].endswith("Its frame is left out")
    assert remarks[-1].endswith("Its frame is left out, and more of them are not listed")


def test_what_stands_behind_an_mp4_is_no_cut(movie: Path, tmp_path: Path) -> None:
    """Its boxes have names; what some cameras and programs put behind them has none."""
    path = tmp_path / "more.mp4"
    for more in (b"junk" * 50, b"\0\0\1\0SEFT", b"\xff" * 20):
        path.write_bytes(movie.read_bytes() + more)
        assert len(read(str(path))) == COUNT
    path.write_bytes(movie.read_bytes() + b"\0\0\1\0free" + bytes(20))
    with pytest.raises(SourceError, match="ends too early: 228 bytes"):
        read(str(path))


def test_a_video_that_is_cut_in_its_index_is_said_to_be(movie: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "cut.mp4", movie.read_bytes()
    path.write_bytes(data[: data.index(b"moov") + 300])
    with pytest.raises(SourceError, match=r"and [0-9]+ bytes that it says it has are not there"):
        read(str(path))
