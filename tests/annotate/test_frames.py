"""Frames of videos become pictures, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samedge.annotate.frames import extract_frames
from samedge.errors import DatasetError
from samedge.pixels.images import load_image

COUNT = 7


def movie(path: Path) -> Path:
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for index in range(COUNT):
            image = np.full((48, 64, 3), 30 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_every_third_frame_of_every_video(tmp_path: Path) -> None:
    movie(tmp_path / "in/a.mp4")
    movie(tmp_path / "in/north/a.mp4")
    heard: list[tuple[int, int]] = []
    out = tmp_path / "out"
    assert extract_frames(tmp_path / "in", out, every=3, progress=lambda *s: heard.append(s)) == []
    frames = ("000000.png", "000003.png", "000006.png")
    assert names(out) == [f"{video}/{f}" for video in ("a.mp4", "north/a.mp4") for f in frames]
    assert heard == [(1, 2), (2, 2)]
    means = [load_image(out / "a.mp4" / frame).mean() for frame in frames]
    assert means == pytest.approx([0, 90, 180], abs=8)


def test_frames_are_written_once_and_anew_for_another_step(tmp_path: Path) -> None:
    movie(tmp_path / "in/a.mp4")
    extract_frames(tmp_path / "in", tmp_path / "out", every=3)
    before = (tmp_path / "out/a.mp4/000000.png").stat().st_mtime_ns
    extract_frames(tmp_path / "in", tmp_path / "out", every=3)
    assert (tmp_path / "out/a.mp4/000000.png").stat().st_mtime_ns == before
    extract_frames(tmp_path / "in", tmp_path / "out", every=5)
    assert names(tmp_path / "out") == ["a.mp4/000000.png", "a.mp4/000005.png"]


def test_a_broken_video_is_listed_and_the_others_are_read(tmp_path: Path) -> None:
    movie(tmp_path / "in/b.mp4")
    (tmp_path / "in/a.mp4").write_bytes(b"no video")
    ((path, error),) = extract_frames(tmp_path / "in", tmp_path / "out", every=6)
    assert path.name == "a.mp4"
    assert str(tmp_path / "in/a.mp4") in str(error)
    assert names(tmp_path / "out") == ["b.mp4/000000.png", "b.mp4/000006.png"]


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no videos"):
        extract_frames(tmp_path, tmp_path / "out", every=1)
