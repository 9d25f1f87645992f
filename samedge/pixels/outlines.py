"""Outlines of masks as polygons, exact to the pixel: NumPy only, as a device has no OpenCV.

Two kinds, since programs read polygons in two ways:

* along the pixels' **edges**: vertices are corners of pixels, so that the polygon's area is the
  mask's. COCO's own tools, SVG and GeoJSON read these;
* through the pixels' **middles**: vertices are the outermost pixels themselves, by column and row,
  as ``cv2.findContours`` gives them. Programs that draw the border as well as what is inside
  (``cv2.fillPoly``, ``ImageDraw.polygon``) give the mask back from these.

Pixels that touch at a corner only belong to different parts, so that no outline crosses itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from samedge.types import Array

Ring = npt.NDArray[np.int64]
"""(N, 2) xy, closed without repeating its first vertex."""

_EAST, _SOUTH, _WEST, _NORTH = range(4)
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
# Of a border walked with the mask on its right: the pixel beside each step, from its start.
_BESIDE = np.array([(0, 0), (-1, 0), (-1, -1), (0, -1)])


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One connected part of a mask.

    Attributes:
        outer: its outline, clockwise as one sees it.
        holes: outlines of its holes, counter-clockwise.
        keyhole: one ring of all: the outline, led into each hole and back along the same line.
    """

    outer: Ring
    holes: tuple[Ring, ...]
    keyhole: Ring

    def simple(self) -> tuple[Ring, ...]:
        """The outline and then the holes, cut where one touches itself at a corner.

        That is what standards such as OGC's Simple Features call a valid polygon. For outlines
        along pixels' edges only.
        """
        pieces = [piece for ring in (self.outer, *self.holes) for piece in _untouched(ring)]
        return tuple(sorted(pieces, key=_turns_left))


def outlines(mask: npt.NDArray[np.bool_], *, middles: bool = False) -> list[Part]:
    """Trace the parts of a mask.

    Args:
        mask: (H, W) bool.
        middles: vertices are the outermost pixels by column and row, instead of pixels' corners.

    Returns:
        The parts, from top to bottom; none for an empty mask.
    """
    borders = _Borders(mask)
    points = borders.pixels if middles else borders.starts
    return [_part(group, points, borders) for group in borders.groups()]


class _Borders:
    """The steps of a mask's borders, joined into loops with the mask on their right.

    Attributes:
        starts: (E, 2) xy corner where each step starts.
        pixels: (E, 2) xy pixel of the mask beside each step.
        loops: steps of each loop in order.
    """

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        self.starts, self._directions = _steps(mask)
        self.pixels = self.starts + _BESIDE[self._directions]
        self._width = mask.shape[1] + 2
        self.loops = _loops(self._successors())
        self._holes = [_turns_left(self.starts[loop]) for loop in self.loops]

    def _keys(self, corners: Array, directions: Array) -> Array:
        return np.asarray((corners[:, 1] * self._width + corners[:, 0]) * 4 + directions)

    def _successors(self) -> Array:
        """The step after each: where two leave a corner, the one around the same pixel."""
        keys = self._keys(self.starts, self._directions)
        order = np.argsort(keys)
        sorted_keys = keys[order]
        ends = self.starts + _STEPS[self._directions]
        following = np.full(len(keys), -1, np.int64)
        for turn in (3, 0, 1):  # left, straight on, and over both of them right
            wanted = self._keys(ends, (self._directions + turn) % 4)
            place = np.minimum(np.searchsorted(sorted_keys, wanted), max(len(keys) - 1, 0))
            here = sorted_keys[place] == wanted
            following[here] = order[place[here]]
        return following

    def groups(self) -> list[list[tuple[Array, int, int]]]:
        """Loops by part: the outer one first, each with where it is joined.

        Returns:
            Of each part, ``(steps, loop joined to, step joined to)``; -1 for the outer one.
        """
        tops = [int(self.starts[loop, 1].min()) for loop in self.loops]
        owner = np.empty(len(self.starts), np.int64)
        for index, loop in enumerate(self.loops):
            owner[loop] = index
        left_edges = np.flatnonzero(self._directions == _NORTH)
        keys = self.pixels[left_edges, 1] * self._width + self.pixels[left_edges, 0]
        order = np.argsort(keys)
        left_edges, keys = left_edges[order], keys[order]
        parts: dict[int, list[tuple[Array, int, int]]] = {}
        home: dict[int, int] = {}
        for index in sorted(range(len(self.loops)), key=lambda i: (tops[i], self._holes[i])):
            loop = self.loops[index]
            if not self._holes[index]:
                home[index], parts[index] = index, [(loop, -1, -1)]
                continue
            turned = np.roll(loop, -self._top_step(loop))
            x, y = self.pixels[turned[0]]
            # The run of mask pixels over the hole's top starts at a border of the same part.
            joined = left_edges[np.searchsorted(keys, y * self._width + x, side="right") - 1]
            home[index] = home[int(owner[joined])]
            parts[home[index]].append((turned, int(owner[joined]), int(joined)))
            self.loops[index] = turned
        return list(parts.values())

    def _top_step(self, loop: Array) -> int:
        """Place in a hole's loop of its leftmost step along its top."""
        westward = np.flatnonzero(self._directions[loop] == _WEST)
        x, y = self.starts[loop[westward]].T
        return int(westward[np.lexsort((x, y))[0]])


def _turns_left(ring: Array) -> bool:
    x, y = ring.T
    return bool((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0)


def _steps(mask: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Starts (E, 2) xy and directions (E,) of all steps along the border."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    bare = {
        _EAST: inside & ~padded[:-2, 1:-1],
        _SOUTH: inside & ~padded[1:-1, 2:],
        _WEST: inside & ~padded[2:, 1:-1],
        _NORTH: inside & ~padded[1:-1, :-2],
    }
    starts, directions = [], []
    for direction, edges in bare.items():
        pixels = np.argwhere(edges)[:, ::-1]
        starts.append(pixels - _BESIDE[direction])
        directions.append(np.full(len(pixels), direction))
    return np.concatenate(starts), np.concatenate(directions)


def _loops(following: Array) -> list[Array]:
    """Cycles of a permutation."""
    succeeding = following.tolist()
    seen = bytearray(len(succeeding))
    loops = []
    for start in range(len(succeeding)):
        if seen[start]:
            continue
        loop, step = [], start
        while not seen[step]:
            seen[step] = 1
            loop.append(step)
            step = succeeding[step]
        loops.append(np.array(loop))
    return loops


def _part(group: Sequence[tuple[Array, int, int]], points: Array, borders: _Borders) -> Part:
    outer = group[0][0]
    holes = [loop for loop, _, _ in group[1:]]
    return Part(
        outer=without_straights(points[outer]),
        holes=tuple(without_straights(points[hole]) for hole in holes),
        keyhole=without_straights(points[_led_through(group, borders)]),
    )


def _untouched(ring: Ring) -> list[Ring]:
    """Rings without a vertex that is there twice, of one that may have some."""
    pieces: list[Ring] = []
    path: list[tuple[int, int]] = []
    places: dict[tuple[int, int], int] = {}
    for x, y in ring.tolist():
        start = places.get((x, y))
        if start is not None:
            pieces.append(np.array(path[start:]))
            for vertex in path[start:]:
                del places[vertex]
            del path[start:]
        places[x, y] = len(path)
        path.append((x, y))
    return [*pieces, np.array(path)]


def _led_through(group: Sequence[tuple[Array, int, int]], borders: _Borders) -> Array:
    """Steps of one ring through a part's outline and holes, the lowest hole joined first."""
    rings = {id(loop): loop for loop, _, _ in group}
    for loop, joined_to, step in reversed(group[1:]):
        target = borders.loops[joined_to]
        ring = rings[id(target)]
        place = int(np.flatnonzero(ring == step)[0]) + 1
        detour = np.concatenate([rings[id(loop)], loop[:1], [step]])
        rings[id(target)] = np.insert(ring, place, detour)
    return rings[id(group[0][0])]


def without_straights(ring: Array) -> Ring:
    """A ring without repeated vertices and those on a straight line between their neighbours.

    Args:
        ring: (N, 2) xy whole numbers; one vertex stays where all are the same.
    """
    kept = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    if not len(kept):
        return np.asarray(ring[:1], np.int64)
    before, after = kept - np.roll(kept, 1, axis=0), np.roll(kept, -1, axis=0) - kept
    crossing = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    turning = crossing | ((before * after).sum(axis=1) < 0)
    return np.asarray(kept[turning], np.int64)


def joined(rings: Sequence[Ring]) -> Ring:
    """One ring of several, each reached from those before along the shortest line and back.

    Args:
        rings: at least one.
    """
    whole = rings[0]
    for ring in rings[1:]:
        at, reached = _nearest(whole, ring)
        turned = np.roll(ring, -reached, axis=0)
        detour = np.concatenate([turned, turned[:1], whole[at : at + 1]])
        whole = np.insert(whole, at + 1, detour, axis=0)
    return whole


_PAIRS_AT_ONCE = 1 << 22


def _nearest(first: Ring, second: Ring) -> tuple[int, int]:
    """Places of the two vertices that are nearest to one another."""
    best, where = None, (0, 0)
    step = max(1, _PAIRS_AT_ONCE // len(second))
    for start in range(0, len(first), step):
        away = first[start : start + step, None] - second[None]
        squared = (away * away).sum(axis=2)
        place = int(squared.argmin())
        if best is None or squared.flat[place] < best:
            best = squared.flat[place]
            where = start + place // len(second), place % len(second)
    return where
