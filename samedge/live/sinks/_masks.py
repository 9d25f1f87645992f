"""A folder of mask pictures, DAVIS's way: one indexed PNG a frame, an object's id plus one."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from samedge.files.writing import replacing
from samedge.live.sinks.base import Drawn, Recording, Sink
from samedge.pixels.overlay import PALETTE

logger = logging.getLogger(__name__)

_MOST_OBJECTS = 254  # 0 is nothing, 255 is DAVIS's void


class _Folder(Recording):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, drawn: Drawn) -> None:
        followed = drawn.followed
        values = np.zeros(followed.frame.size, np.uint8)
        for found in followed.objects:
            values[found.mask] = min(found.id + 1, _MOST_OBJECTS)
        picture = Image.fromarray(values, "P")
        picture.putpalette(_palette())
        with replacing(self._folder / f"{followed.frame.number:05d}.png") as temporary:
            picture.save(temporary, "PNG")


def _palette() -> list[int]:
    colours = [(0, 0, 0), *(PALETTE[index % len(PALETTE)] for index in range(255))]
    return [level for colour in colours for level in colour]


class Masks(Sink):
    """Pictures named by the frame's number."""

    endings = ("",)

    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        """See :meth:`Sink.open`."""
        del fps
        path.mkdir(parents=True, exist_ok=True)
        if older := sum(1 for _ in path.glob("*.png")):
            logger.warning(
                "%s holds %d pictures already; those of frames that come again are replaced and "
                "the others stay.",
                path,
                older,
            )
        yield _Folder(path)


SINK = Masks()
