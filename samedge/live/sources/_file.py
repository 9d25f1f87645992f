"""Video files, through PyAV."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import numpy as np

from samedge.live.sources import endings, gif, pyav
from samedge.live.sources.base import Grab, ReadOptions, Source


class File(Source):
    """A video file."""

    form = "a video file"
    is_live = False

    def claims(self, spec: str) -> bool:
        """A file that is there."""
        return os.path.isfile(spec)  # noqa: PTH113 - any text is answered

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        """All frames of the file."""
        if gif.hides_pictures(Path(spec)) or gif.is_animated_webp(Path(spec)):
            return _pictures(Path(spec))
        return pyav.grabs(spec, options, low_delay=False)

    def write_example(self, folder: Path) -> str | None:
        """A video of three frames."""
        av = pyav.library()
        path = folder / "example.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=30)
            stream.width, stream.height, stream.pix_fmt = 32, 16, "bgr0"
            for level in (40, 120, 200):
                picture = np.full((16, 32, 3), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return str(path)


def _pictures(path: Path) -> Generator[Grab, None, None]:
    yield from gif.grabs(path)
    endings.check_whole(path)


SOURCE = File()
