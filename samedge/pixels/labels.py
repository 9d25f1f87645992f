"""Short words on masks: numbers and scores, where they are read best and cover least.

A label lies in the middle of its mask. Where it does not fit there, or covers another one, it moves
to a corner of the mask's box, and at last gives up all but its first word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from samedge.pixels.metrics import bounding_box, center_point
from samedge.types import Array

_INK, _CASING = (255, 255, 255), (24, 24, 24)
_SMALLEST_PX, _PICTURE_SHARE = 11, 1 / 45
_SIDE = 64  # a mask is this large at most when its middle is looked for

Corners = tuple[float, float, float, float]


def draw_labels(picture: Image.Image, masks: Array, *, labels: Sequence[str]) -> None:
    """Write one label on each mask, in place.

    Args:
        picture: RGB.
        masks: (M, H, W) bool, of the picture's size; an empty one gets no label.
        labels: M of them; of several words, the first one counts most.
    """
    height = max(_SMALLEST_PX, round(max(picture.size) * _PICTURE_SHARE))
    font = ImageFont.load_default(height)
    draw = ImageDraw.Draw(picture)
    taken: list[Corners] = []
    for mask, label in sorted(zip(masks, labels, strict=True), key=lambda pair: -pair[0].sum()):
        box = bounding_box(mask)
        if box is None or not label.strip():
            continue
        words, place = _placed(draw, font, mask, label=label, box=box, taken=taken)
        taken.append(place)
        middle = ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
        width = max(1, round(height / 9))
        draw.text(
            middle,
            words,
            fill=_INK,
            font=font,
            anchor="mm",
            stroke_width=width,
            stroke_fill=_CASING,
        )


def _placed(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    mask: Array,
    *,
    label: str,
    box: tuple[int, int, int, int],
    taken: Sequence[Corners],
) -> tuple[str, Corners]:
    """What to write of a label, and where; the middle where no place is free."""
    candidates = dict.fromkeys((label, label.split()[0]))
    size = draw.im.size
    for words in candidates:
        left, top, right, bottom = draw.textbbox((0, 0), words, font=font)
        extent = right - left + 4, bottom - top + 4
        for place in _places(mask, box, extent):
            held = _inside(place, size)
            if not any(_overlap(held, other) for other in taken):
                return words, held
    return words, _inside(next(_places(mask, box, extent)), size)


def _places(
    mask: Array, box: tuple[int, int, int, int], extent: tuple[float, float]
) -> Iterator[Corners]:
    """Rectangles for a label: in the middle of the mask, then inside the corners of its box."""
    x, y = _middle(mask, box)
    width, height = extent
    x0, y0, x1, y1 = box
    yield x - width / 2, y - height / 2, x + width / 2, y + height / 2
    for left in (x0, x1 - width):
        for top in (y0, y1 - height):
            yield left, top, left + width, top + height
    yield x0, y0 - height, x0 + width, y0
    yield x0, y1, x0 + width, y1 + height


def _middle(mask: Array, box: tuple[int, int, int, int]) -> tuple[float, float]:
    """The point of a mask that is furthest from its edge, on a coarse grid."""
    x0, y0, x1, y1 = box
    step = max(1, -(-max(x1 - x0, y1 - y0) // _SIDE))
    point = center_point(np.ascontiguousarray(mask[y0:y1:step, x0:x1:step]))
    if point is None:  # thinner than the grid
        return (x0 + x1) / 2, (y0 + y1) / 2
    return x0 + (point[0] + 0.5) * step, y0 + (point[1] + 0.5) * step


def _inside(place: Corners, size: tuple[int, int]) -> Corners:
    """The rectangle moved into a picture of ``(width, height)``."""
    x0, y0, x1, y1 = place
    right = max(0.0, min(x0, size[0] - (x1 - x0))) - x0
    down = max(0.0, min(y0, size[1] - (y1 - y0))) - y0
    return x0 + right, y0 + down, x1 + right, y1 + down


def _overlap(first: Corners, second: Corners) -> bool:
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )
