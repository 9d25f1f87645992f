"""Videos that were cut where nothing is damaged, and whole ones that end in other ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import ImageError, SourceError
from samedge.live import sources
from samedge.live.sources.base import Grab, ReadOptions
from samedge.live.sources.declared_size import missing_bytes
from samedge.live.sources.endings import missing_end
from tests.live.faulty import picture

COUNT = 24
KINDS = {  # name: encoder, container, pixels, options, whether a cut between two frames shows
    "a.gif": ("gif", "gif", "rgb8", {}, True),
    "a.apng": ("apng", "apng", "rgb24", {}, True),
    "a.y4m": ("wrapped_avframe", "yuv4mpegpipe", "yuv420p", {}, False),
    "deep.y4m": ("rawvideo", "yuv4mpegpipe", "yuv420p10le", {"strict": "-1"}, False),
    "a.ogv": ("libvpx", "ogg", "yuv420p", {}, True),
    "a.mjpeg": ("mjpeg", "mjpeg", "yuvj420p", {}, False),
    "a.mxf": ("mpeg2video", "mxf", "yuv420p", {}, False),
    "live.webm": ("libvpx", "webm", "yuv420p", {"live": "1"}, False),
}


def write(path: Path, *, count: int = COUNT, sound: bool = False) -> None:
    av = pytest.importorskip("av")
    codec, container_format, pixels, options, _ = KINDS[path.name]
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    with av.open(path, "w", format=container_format, options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, pixels
        tone = container.add_stream("libopus", rate=48000) if sound else None
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode())
        if tone is not None:
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1920), np.int16), format="s16", layout="stereo"
            )
            silence.sample_rate = 48000
            container.mux(tone.encode(silence))
            container.mux(tone.encode())


def read(path: Path) -> list[Grab]:
    return list(sources.get("file").grabs(str(path), ReadOptions()))


def frames_before_the_cut(path: Path) -> int:
    """How many frames a file gives that ends too early; an error where it does not say so."""
    grabs: list[Grab] = []
    with pytest.raises(SourceError, match=r"ends too early, with.*Copy it again if"):
        grabs.extend(sources.get("file").grabs(str(path), ReadOptions()))
    return len(grabs)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "a.mxf"])
def test_a_copy_that_stopped_is_read_and_said(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    assert len(read(path)) == COUNT
    data = path.read_bytes()
    for cut in (len(data) * 2 // 3 - 7, len(data) - 1):
        path.write_bytes(data[:cut])
        assert 0 < frames_before_the_cut(path) <= COUNT


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind[-1]])
def test_a_cut_between_two_frames_is_said(name: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / name
    write(path)
    with av.open(path) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][15]
    path.write_bytes(path.read_bytes()[:place])
    assert 0 < frames_before_the_cut(path) < COUNT


def test_an_mxf_without_its_footer_is_said(tmp_path: Path) -> None:
    """Its head says where the footer is; its frames have one length, so that a cut hides."""
    path = tmp_path / "a.mxf"
    write(path)
    assert len(read(path)) == COUNT
    data = path.read_bytes()
    for cut in (len(data) // 3, len(data) * 2 // 3):
        path.write_bytes(data[:cut])
        assert 0 < frames_before_the_cut(path) < COUNT
    path.write_bytes(data + bytes(1000))
    assert len(read(path)) == COUNT
    place = (
        16 + 4 + 24
    )  # the key, a length of four bytes, and what stands before the footer's place
    path.write_bytes(data[:place] + b"\xff" * 8 + data[place + 8 :])
    assert missing_end(path) == "without its footer"


@pytest.mark.parametrize("name", ["a.gif", "a.apng", "a.mjpeg", "a.ogv"])
def test_what_stands_behind_the_end_is_no_cut(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert len(read(path)) == COUNT


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGBA", {"disposal": 2}),
        ("P", {"comment": b"x" * 700, "loop": 0}),
        ("L", {"interlace": 1, "optimize": True}),
    ],
)
@pytest.mark.parametrize("ending", ["gif", "apng"])
def test_pillows_animations_are_whole(
    mode: str, options: dict[str, Any], ending: str, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    path = tmp_path / f"a.{ending}"
    frames = [Image.fromarray(picture(index)).convert(mode) for index in range(5)]
    kind = "PNG" if ending == "apng" else "GIF"
    options = options if ending == "gif" else {}
    frames[0].save(path, format=kind, save_all=True, append_images=frames[1:], **options)
    assert len(read(path)) == len(frames)
    data = path.read_bytes()
    for cut in range(len(data) - 1, 200, -97):  # within every kind of block
        path.write_bytes(data[:cut])
        assert missing_end(path) is not None, cut


def test_an_animation_without_delays_is_all_of_its_pictures(tmp_path: Path) -> None:
    """FFmpeg has one packet for all of it, and decodes the first picture."""
    pytest.importorskip("av")
    path = tmp_path / "a.gif"
    frames = [Image.fromarray(picture(index)).convert("P") for index in range(5)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    grabs = read(path)
    for grab, frame in zip(grabs, frames, strict=True):
        np.testing.assert_array_equal(grab.image, np.asarray(frame.convert("RGB")))
    assert [grab.pts_s for grab in grabs] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    path.write_bytes(path.read_bytes()[:-9000])
    assert frames_before_the_cut(path) in (3, 4)


def test_ogg_files_one_after_the_other_are_whole(tmp_path: Path) -> None:
    """The second one has a stream more, of which PyAV knows nothing when it flushes."""
    first, second = tmp_path / "a.ogv", tmp_path / "b" / "a.ogv"
    second.parent.mkdir()
    write(first)
    write(second, sound=True)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    assert len(read(first)) >= COUNT


def test_the_parts_of_a_large_avi_count(tmp_path: Path) -> None:
    """Beyond a gigabyte, an AVI is several parts, each with its length."""
    parts = [b"RIFF\4\0\0\0AVI ", b"RIFF\x0a\0\0\0AVIX" + bytes(6)]
    path = tmp_path / "a.avi"
    path.write_bytes(b"".join(parts))
    assert missing_bytes(path) == 0
    path.write_bytes(b"".join(parts)[:-4])
    assert missing_bytes(path) == 4
    path.write_bytes(b"".join(parts) + bytes(50))
    assert missing_bytes(path) == 0


def test_an_animated_webp_is_all_of_its_pictures(tmp_path: Path) -> None:
    """FFmpeg has no decoder for one."""
    levels = (40, 120, 200)
    first, *others = (Image.new("RGB", (32, 16), (level,) * 3) for level in levels)
    path = tmp_path / "moving.webp"
    durations = [50, 100, 50]
    first.save(path, save_all=True, append_images=others, duration=durations, lossless=True)
    grabs = read(path)
    assert [int(grab.image[0, 0, 0]) for grab in grabs if grab.image is not None] == list(levels)
    assert [grab.pts_s for grab in grabs] == [0.0, 0.05, 0.15]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ImageError, match="truncated or damaged"):
        read(path)
