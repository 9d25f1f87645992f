"""Boxes, patches and the grid that masks are carried on."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image

from samedge.pixels.metrics import bounding_box
from samedge.types import Array, Size

INSIDE_LOGIT = 6.0
"""Logit of a pixel that is wholly inside a mask."""


class Box(NamedTuple):
    """A rectangle in pixels of the image; the right and lower edge are excluded."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def center(self) -> tuple[float, float]:
        """``(x, y)``."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def grown(self, share: float, *, pixels: float = 0.0) -> Box:
        """Larger on every side by a share of the longer side, and some pixels."""
        more = share * max(self.width, self.height) + pixels
        return Box(self.left - more, self.top - more, self.right + more, self.bottom + more)

    def moved(self, right: float, down: float) -> Box:
        """The box somewhere else."""
        return Box(self.left + right, self.top + down, self.right + right, self.bottom + down)

    def inside(self, size: Size) -> Box:
        """The part of it in an image of ``(height, width)``; may be empty."""
        height, width = size
        left, right = np.clip((self.left, self.right), 0, width)
        top, bottom = np.clip((self.top, self.bottom), 0, height)
        return Box(float(left), float(top), float(right), float(bottom))

    def joined(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def is_empty(self, least: float = 1.0) -> bool:
        """Whether a side is shorter than so many pixels."""
        return self.width < least or self.height < least


@dataclasses.dataclass(frozen=True)
class Grid:
    """The coarse grid on which an object's logits are carried from frame to frame.

    Attributes:
        image_size: ``(height, width)`` of the image.
        side: longest side of the grid.
    """

    image_size: Size
    side: int

    @property
    def size(self) -> Size:
        """``(height, width)`` of the grid."""
        height, width = self.image_size
        scale = min(1.0, self.side / max(height, width))
        return max(2, round(height * scale)), max(2, round(width * scale))

    @property
    def scale(self) -> tuple[float, float]:
        """Grid cells a pixel, down and across."""
        rows, columns = self.size
        return rows / self.image_size[0], columns / self.image_size[1]

    def logits_from_mask(self, mask: Array) -> Array:
        """Covered share of each cell as a logit.

        Args:
            mask: (H, W) bool, of the image.
        """
        rows, columns = self.size
        picture = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
        share = np.asarray(picture.resize((columns, rows), Image.Resampling.BOX), np.float32) / 255
        return INSIDE_LOGIT * (2 * share - 1)

    def mask_from_logits(self, logits: Array) -> Array:
        """(H, W) bool, of the image."""
        mask = np.zeros(self.image_size, np.bool_)
        found = bounding_box(logits > 0)
        if found is None:
            return mask
        # Half a cell around what is above 0 can be above it, too; all else costs nothing.
        down, across = self.scale
        left, right = ((x + grow) / across for x, grow in ((found[0], -1), (found[2], 1)))
        top, bottom = ((y + grow) / down for y, grow in ((found[1], -1), (found[3], 1)))
        part = Box(int(left), int(top), int(right) + 1, int(bottom) + 1).inside(self.image_size)
        x0, y0, x1, y1 = map(int, part)
        picture = Image.fromarray(logits.astype(np.float32)).resize(
            (x1 - x0, y1 - y0),
            Image.Resampling.BILINEAR,
            box=(x0 * across, y0 * down, x1 * across, y1 * down),
        )
        mask[y0:y1, x0:x1] = np.asarray(picture) > 0
        return mask

    def box(self, logits: Array) -> Box | None:
        """Smallest box of the image that holds what is above 0; ``None`` without any."""
        found = bounding_box(logits > 0)
        if found is None:
            return None
        down, across = self.scale
        return Box(found[0] / across, found[1] / down, found[2] / across, found[3] / down)

    def window(self, box: Box) -> tuple[slice, slice]:
        """Rows and columns of the cells that a box touches."""
        down, across = self.scale
        part = box.inside(self.image_size)
        return (
            slice(int(part.top * down), int(np.ceil(part.bottom * down))),
            slice(int(part.left * across), int(np.ceil(part.right * across))),
        )

    def image_places(self, window: tuple[slice, slice]) -> tuple[Array, Array]:
        """Centres of a window's cells, (R,) rows and (Q,) columns in pixels of the image."""
        down, across = self.scale
        rows = (np.arange(window[0].start, window[0].stop, dtype=np.float32) + 0.5) / down
        columns = (np.arange(window[1].start, window[1].stop, dtype=np.float32) + 0.5) / across
        return rows, columns


def patch_size(box: Box, side: int) -> Size:
    """``(height, width)`` of a patch of a box whose longer side is ``side``."""
    scale = side / max(box.width, box.height)
    return max(8, round(box.height * scale)), max(8, round(box.width * scale))


def patch(picture: Image.Image, box: Box, *, size: Size) -> Array:
    """A rectangle of a picture at another size.

    Args:
        picture: RGB; Pillow's own, as making one of an array costs more than all else here.
        box: wholly inside the image.
        size: ``(height, width)`` of the result.

    Returns:
        (height, width, 3) float32.
    """
    left, top = int(box.left), int(box.top)
    right, bottom = int(np.ceil(box.right)), int(np.ceil(box.bottom))
    small = picture.crop((left, top, right, bottom)).resize(
        (size[1], size[0]),
        Image.Resampling.BILINEAR,
        box=(box.left - left, box.top - top, box.right - left, box.bottom - top),
        reducing_gap=2.0,
    )
    return np.asarray(small, np.float32)


def grey(picture: Array) -> Array:
    """Brightness of an RGB picture, (H, W) float32."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    brightness: Array = picture @ weights
    return brightness
