"""The parts of an image that were encoded again, kept beside its embedding for later prompts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from samedge.pixels.regions import Extent, Surroundings, shows
from samedge.types import Array, Region

Embedding = TypeVar("Embedding")

_KEPT = 64
"""Looks a picture: one to three megabytes each, and what a call makes at most."""


class Looks(Generic[Embedding]):
    """An image's pixels, and the embeddings of parts of it. Safe to share between threads.

    Args:
        pixels: (H, W, 3) uint8 RGB, copied where others may write to it.
    """

    def __init__(self, pixels: Array) -> None:
        self.pixels = pixels.copy() if pixels.flags.writeable else pixels
        self._kept: dict[tuple[Region, bool], Embedding] = {}  # by part, and whether mirrored
        self._lock = threading.Lock()

    def __getstate__(self) -> Array:
        """What is pickled: the pixels; parts can be encoded anew."""
        return self.pixels

    def __setstate__(self, pixels: Array) -> None:
        self.__init__(pixels)  # type: ignore[misc]

    def showing(self, extent: Extent, *, around: Surroundings) -> Region | None:
        """A part that was encoded already and shows a box well; the closest one."""
        size = self.pixels.shape[0], self.pixels.shape[1]
        with self._lock:
            parts = [region for region, is_mirrored in self._kept if not is_mirrored]
        found = [r for r in parts if shows(r, extent, size=size, around=around)]
        return min(found, key=lambda r: (r[2] - r[0]) * (r[3] - r[1]), default=None)

    def embedding(
        self, region: Region, encode: Callable[[Array, Region], Embedding], *, mirrored: bool
    ) -> tuple[Embedding, bool]:
        """The embedding of a part, and whether it was made just now.

        Args:
            region: the part, pixels of the image, or where it is mirrored of the mirrored image.
            encode: makes it, of the pixels and the part.
            mirrored: of the image with its left and right exchanged.
        """
        key = region, mirrored
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept, False
        made = encode(self.pixels[:, ::-1] if mirrored else self.pixels, region)
        with self._lock:
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = made
        return made, True
