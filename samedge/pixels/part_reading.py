"""The contract of a picture that is read part by part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from samedge.pixels.boxes import Box
from samedge.types import Array, Size


class Parts(ABC):
    """A picture that is open to be read part by part.

    Attributes:
        size: ``(height, width)``, upright.
        whole: (H, W, 3) uint8 RGB where all of it is at hand, or ``None``.
    """

    size: Size
    whole: Array | None = None

    @abstractmethod
    def in_order(self, boxes: Sequence[Box]) -> list[Box]:
        """Boxes in the order in which they have to be read.

        Raises:
            ImageError: the rows of the highest are too large to be held, where that is needed.
        """

    @abstractmethod
    def read(self, box: Box) -> Array:
        """A part, (h, w, 3) uint8 RGB, contiguous.

        Args:
            box: of the upright picture; each behind those before it by :meth:`in_order`.

        Raises:
            ImageError: the file is truncated or damaged there.
        """

    @abstractmethod
    def restart(self) -> None:
        """Begin anew: parts that were read, and those before them, can be read once more.

        Raises:
            ImageError: the file is not what it was.
        """
