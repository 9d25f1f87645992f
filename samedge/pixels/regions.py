"""Where to look again: square regions of an image around what is small in it, shared by neighbours.

A region is what an encoder sees at its full input size, so that everything in it is larger than in
the whole image. Boxes are ``(x0, y0, x1, y1)`` pixels of the whole image throughout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from samedge.errors import OptionError
from samedge.types import Region, Size

Extent = tuple[float, float, float, float]
"""``(x0, y0, x1, y1)`` around what a region is to show, pixels of the whole image."""


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """How much is seen around a thing, in multiples of its longer side.

    Attributes:
        context: side of a region made for one thing.
        tightest: least side of a region around each thing that shares it.
        widest: largest side of a region that things share, over the smallest of them.
        least_px: no region is smaller, in pixels of the image.

    Raises:
        OptionError: not 1 <= tightest <= context <= widest.
    """

    context: float = 2.5
    tightest: float = 2.3
    widest: float = 3.0
    least_px: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.tightest <= self.context <= self.widest:
            raise OptionError(
                f"tightest, context and widest are {self.tightest}, {self.context} and "
                f"{self.widest}, expected 1 <= tightest <= context <= widest."
            )


@dataclasses.dataclass
class SharedRegion:
    """A region and the things that it is to show.

    Attributes:
        region: pixels of the image.
        members: keys of the things.
    """

    region: Region
    members: list[int]


def longest_side(extent: Extent) -> float:
    """Of a box, in its own unit."""
    return max(extent[2] - extent[0], extent[3] - extent[1])


def zoom(region: Region, size: Size) -> float:
    """How many times larger things are in a region at full input size than in the whole image."""
    return max(size) / max(region[2] - region[0], region[3] - region[1])


def square_region(extent: Extent, size: Size, *, side: float) -> Region:
    """The square of a side around the middle of a box, pushed into the image.

    Where the image is narrower than the side, the region is as narrow as the image.

    Args:
        extent: at least partly inside of the image.
        size: ``(height, width)`` of the image.
        side: pixels.
    """
    x0, x1 = _span((extent[0] + extent[2]) / 2, side, size[1])
    y0, y1 = _span((extent[1] + extent[3]) / 2, side, size[0])
    return x0, y0, x1, y1


def _span(middle: float, side: float, length: int) -> tuple[int, int]:
    taken = min(max(round(side), 1), length)
    start = min(max(round(middle - taken / 2), 0), length - taken)
    return start, start + taken


@dataclasses.dataclass
class _Group:
    members: list[int]
    needed: Extent
    smallest: float
    largest: float


def shared_regions(
    extents: Mapping[int, Extent], size: Size, *, around: Surroundings
) -> list[SharedRegion]:
    """Regions that show every box with enough around it, neighbours together where that fits.

    The largest boxes come first; each further one joins the first region in which it, and all that
    are there already, would still be large enough and have enough around them.

    Args:
        extents: boxes by a key of the caller's.
        size: ``(height, width)`` of the image.
        around: how much is seen around each.

    Returns:
        Regions in which every key occurs once.
    """
    groups: list[_Group] = []
    for key in sorted(extents, key=lambda one: (-longest_side(extents[one]), one)):
        alone = _alone(key, extents[key], size, around)
        for place, group in enumerate(groups):
            joined = _joined(group, alone)
            if _side(joined, around) <= max(around.widest * joined.smallest, around.least_px):
                groups[place] = joined
                break
        else:
            groups.append(alone)
    return [
        SharedRegion(square_region(g.needed, size, side=_side(g, around)), sorted(g.members))
        for g in groups
    ]


def _alone(key: int, extent: Extent, size: Size, around: Surroundings) -> _Group:
    length = max(longest_side(extent), 1.0)
    needed = square_region(extent, size, side=around.tightest * length)
    return _Group([key], needed, length, length)


def _joined(first: _Group, second: _Group) -> _Group:
    a, b = first.needed, second.needed
    return _Group(
        first.members + second.members,
        (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])),
        min(first.smallest, second.smallest),
        max(first.largest, second.largest),
    )


def _side(group: _Group, around: Surroundings) -> float:
    return max(longest_side(group.needed), around.context * group.largest, around.least_px)


def around_all(extents: Iterable[Extent]) -> Extent:
    """The smallest box around boxes, at least one of them."""
    x0, y0, x1, y1 = zip(*extents, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def cut_to(extent: Sequence[float], size: Size) -> Extent:
    """The part of a box inside of an image of ``(height, width)``."""
    x0, x1 = (min(max(float(x), 0.0), float(size[1])) for x in (extent[0], extent[2]))
    y0, y1 = (min(max(float(y), 0.0), float(size[0])) for y in (extent[1], extent[3]))
    return x0, y0, x1, y1


def shows(region: Region, extent: Extent, *, size: Size, around: Surroundings) -> bool:
    """Whether a region that is there already shows a box large enough and with enough around it."""
    alone = _alone(0, extent, size, around)
    needed = alone.needed
    inside = needed[0] >= region[0] and needed[1] >= region[1]
    inside = inside and needed[2] <= region[2] and needed[3] <= region[3]
    side = longest_side((region[0], region[1], region[2], region[3]))
    return inside and side <= max(around.widest * alone.smallest, around.least_px)
