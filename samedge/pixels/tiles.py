"""How a picture is cut into tiles that overlap."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

from samedge.errors import OptionError
from samedge.files import limits
from samedge.pixels.boxes import Box
from samedge.types import Size

LEAST_SIDE = 64
_OVERLAPS = 8  # so many overlaps make a tile's side, where none is given


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Square tiles, all of the same size, that cover a picture to its edges.

    Attributes:
        side: of a tile, in pixels; a picture that is shorter has tiles as short as it.
        overlap: pixels that neighbours share at least; ``None`` is an eighth of ``side``.

    Raises:
        OptionError: a tile of fewer than 64 pixels a side or of more than ``image_pixels`` in all,
            or an overlap of more than half of it.
    """

    side: int
    overlap: int | None = None

    def __post_init__(self) -> None:
        numbers = (self.side, 0 if self.overlap is None else self.overlap)
        if not all(isinstance(number, int | np.integer) for number in numbers):
            raise OptionError(
                f"The tiles have {self.side!r} pixels a side and overlap by {self.overlap!r}, "
                "expected whole numbers."
            )
        if self.side < LEAST_SIDE:
            raise OptionError(
                f"The tiles have {self.side} pixels a side, expected {LEAST_SIDE} or more."
            )
        limits.check(self.side**2, "image_pixels", what="A tile", error=OptionError)
        if self.overlap is not None and not 0 <= self.overlap <= self.side // 2:
            raise OptionError(
                f"Tiles of {self.side} pixels overlap by {self.overlap}, expected 0 to "
                f"{self.side // 2}: half of a tile at most."
            )

    @property
    def shared(self) -> int:
        """Pixels that neighbours share at least."""
        return self.side // _OVERLAPS if self.overlap is None else self.overlap

    def boxes(self, size: Size) -> list[Box]:
        """The tiles of a picture, row by row.

        Args:
            size: its ``(height, width)``.
        """
        spans = [self._spans(length) for length in size]
        return [(x0, y0, x1, y1) for (y0, y1), (x0, x1) in itertools.product(*spans)]

    def _spans(self, length: int) -> list[tuple[int, int]]:
        """Along one axis: as few as there can be, as evenly as there can be."""
        if length <= self.side:
            return [(0, length)]
        count = math.ceil((length - self.shared) / (self.side - self.shared))
        starts = [round(number * (length - self.side) / (count - 1)) for number in range(count)]
        return [(start, start + self.side) for start in starts]
