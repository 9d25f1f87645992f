"""Videos that the tests of sources read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.live.movies import COUNT, FPS, SIZE, colour


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
