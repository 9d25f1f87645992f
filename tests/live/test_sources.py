"""Each kind of source on real files, or on a stand-in for the library that it needs."""

from __future__ import annotations

import contextlib
import http.server
import io
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import SourceError
from samedge.live import sources
from samedge.live.camera import Camera
from samedge.live.sources.base import ReadOptions
from tests.live.faulty import picture
from tests.live.movies import COUNT, SIZE, colour, read


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


def test_every_kind_says_what_it_reads() -> None:
    assert set(sources.names()) == {"file", "folder", "gstreamer", "python", "stream", "webcam"}
    for name in sources.names():
        source = sources.get(name)
        assert source.form
        assert not source.claims("no such thing")


def test_a_password_stays_out_of_errors() -> None:
    pytest.importorskip("av")
    with (
        Camera("rtsp://robot:se@cret@127.0.0.1:1/x") as camera,
        pytest.raises(SourceError, match=r"^rtsp://127\.0\.0\.1:1/x cannot be opened") as caught,
    ):
        camera.take()
    assert "cret" not in str(caught.value)


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
