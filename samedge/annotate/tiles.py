"""Tiles of one image on disk: a large picture takes hours, and none of them is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from samedge.annotate.parts import Parts
from samedge.annotate.tasks import TilePart
from samedge.pixels.boxes import Box
from samedge.predict.everything_masks import AutomaticMask, mask_from_record


class KeptTiles:
    """The tiles of one image that are done; a
    :class:`~samedge.predict.everything_tiles.TileStore`.

    Args:
        parts: the folder of all images' results.
        name: of the image's task.
        state: bytes and time of change of its file; the tiles of another are done again.
        on_tile: hears of every tile that was done now.

    Attributes:
        seconds: that tiles which were done before have taken.
    """

    def __init__(
        self,
        parts: Parts,
        name: str,
        *,
        state: tuple[int, int],
        on_tile: Callable[[], None] | None = None,
    ) -> None:
        self._parts, self._name, self._state, self._on_tile = parts, name, state, on_tile
        self._since = time.perf_counter()
        self.seconds = 0.0

    def find(self, box: Box) -> Sequence[AutomaticMask] | None:
        """The masks of a tile that was done, or ``None``."""
        found = self._parts.tile(self._name, box)
        if found is None or (found.file_bytes, found.modified_ns) != self._state:
            return None
        self.seconds += found.seconds
        self._since = time.perf_counter()
        return [mask_from_record(record) for record in found.masks]

    def keep(self, box: Box, masks: Sequence[AutomaticMask]) -> None:
        """Keep the masks of a tile.

        Raises:
            WriteError: they cannot be written.
        """
        now = time.perf_counter()
        part = TilePart(
            name=self._name,
            file_bytes=self._state[0],
            modified_ns=self._state[1],
            box=box,
            masks=tuple(mask.record() for mask in masks),
            seconds=round(now - self._since, 4),
        )
        self._since = now
        self._parts.write_tile(part)
        if self._on_tile is not None:
            self._on_tile()
