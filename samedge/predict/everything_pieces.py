"""The masks of tiles that overlap as pieces of things: whole elsewhere, to be joined, or cut."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from samedge.pixels.boxes import Box
from samedge.pixels.runs import Runs, runs_from_rle
from samedge.predict.everything_masks import AutomaticMask
from samedge.types import Array, Size

_AGREES = 0.5
"""IoU, where both tiles look, from which on two pieces are of one thing."""


@dataclasses.dataclass(frozen=True, eq=False)
class TileMasks:
    """The masks of one tile.

    Attributes:
        box: of the tile in the picture.
        masks: in the tile's own frame, as of an image of that size.
    """

    box: Box
    masks: Sequence[AutomaticMask]


class Pieces:
    """Every mask of every tile by number, where it is cut, and what becomes of it.

    Attributes:
        tiles: sorted by row and column.
        masks: of each piece, in its tile's frame.
        tile: (N,) number of each one's tile.
        boxes: (N, 4) in the picture.
        whole_in: piece to the neighbour's piece that shows it whole, or ``None`` where the
            neighbour shows the place and nothing like it.
        seen_with: piece to the neighbour's piece that shows it from end to end and is cut itself:
            they are joined, or the neighbour's counts.
        groups: pieces of one thing, of at most one a tile, without those that are whole elsewhere.
        open_ends: pieces that a tile's edge cuts, and whose rest no neighbour has.
    """

    def __init__(self, tiles: Sequence[TileMasks], *, size: Size, cell: float) -> None:
        self.tiles = tiles
        self.masks = [mask for tile in tiles for mask in tile.masks]
        counts = [len(tile.masks) for tile in tiles]
        self._first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.tile = np.repeat(np.arange(len(tiles)), counts)
        corners = np.array([tile.box[:2] * 2 for tile in tiles], np.int64).reshape(-1, 4)
        boxes = np.array([mask.box for mask in self.masks], np.int64).reshape(-1, 4)
        self.boxes = boxes + corners[self.tile]
        self._cut = self._cut_sides(size, cell)
        self.whole_in: dict[int, int | None] = {}
        self.seen_with: dict[int, int] = {}
        self._joins: list[tuple[float, int, int]] = []
        self._compare(size, cell)
        self.groups, self.open_ends = self._grouped()

    def runs(self, piece: int) -> Runs:
        """Its pixels in the picture."""
        x0, y0, _, _ = self.tiles[self.tile[piece]].box
        return runs_from_rle(self.masks[piece].rle, corner=(x0, y0))

    def in_tile(self, piece: int, place: int | None) -> int | None:
        """The piece at a place of the list of another one's tile."""
        return None if place is None else int(self._first[self.tile[piece]]) + place

    def tile_box(self, piece: int) -> Box:
        """The tile that it is of."""
        return self.tiles[int(self.tile[piece])].box

    def _cut_sides(self, size: Size, cell: float) -> npt.NDArray[np.bool_]:
        """(N, 4) which edges of its tile, that are none of the picture, cut each piece."""
        edges = np.array([tile.box for tile in self.tiles], np.int64).reshape(-1, 4)
        inner = edges != np.array([0, 0, size[1], size[0]])
        near = np.abs(self.boxes - edges[self.tile]) <= self._tolerance(cell)[self.tile, None]
        cut: npt.NDArray[np.bool_] = near & inner[self.tile]
        return cut

    def _tolerance(self, cell: float) -> Array:
        return np.array(
            [cell * max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in (t.box for t in self.tiles)]
        )

    def _compare(self, size: Size, cell: float) -> None:
        """Pieces of neighbours with one another, few tiles' pixels at a time."""
        held: dict[int, dict[int, Runs]] = defaultdict(dict)
        margin = self._tolerance(cell)
        for first, second in _neighbours(self.tiles):
            for done in [tile for tile in held if tile < first]:
                del held[done]
            _Pair(self, (first, second), size, margin, held).compare()

    def between(self, tile: int, zone: Box) -> Array:
        """Numbers of a tile's pieces that reach into a zone."""
        numbers = np.arange(self._first[tile], self._first[tile + 1])
        boxes = self.boxes[numbers]
        x0, y0, x1, y1 = zone
        reach = (boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)
        return np.asarray(numbers[reach])

    def cut_in(self, pieces: Array, other: Box) -> npt.NDArray[np.bool_]:
        """(P,) whether another tile shows an edge at which a piece is cut, and goes on beyond it.

        Args:
            pieces: of one tile.
            other: the box of the other tile.
        """
        found = np.zeros(len(pieces), np.bool_)
        if not len(pieces):
            return found
        edges = self.tile_box(int(pieces[0]))
        for side in range(4):
            axis = side % 2
            across = 1 - axis
            shown = other[axis] < edges[side] < other[axis + 2]
            spans = self.boxes[pieces]
            meets = (spans[:, across] < other[across + 2]) & (spans[:, across + 2] > other[across])
            found |= self._cut[pieces, side] & meets & shown
        return found

    def join(self, first: int, second: int, *, agreement: float) -> None:
        """Take note of two pieces that may be one thing."""
        self._joins.append((-agreement, first, second))

    def _grouped(self) -> tuple[list[list[int]], frozenset[int]]:
        """Pieces by thing, those that agree most joined first; and those with an open end."""
        groups = {piece: [piece] for piece in range(len(self.masks)) if piece not in self.whole_in}
        home = {piece: piece for piece in groups}
        met: dict[int, list[int]] = defaultdict(list)
        for _, first, second in sorted(self._joins):
            if first not in home or second not in home:
                continue
            one, two = sorted((home[first], home[second]))
            if one != two:
                tiles = {int(self.tile[piece]) for piece in (*groups[one], *groups[two])}
                if len(tiles) < len(groups[one]) + len(groups[two]):
                    continue  # a tile tells two of its masks apart, and so are they
                groups[one] += groups.pop(two)
                home.update(dict.fromkeys(groups[one], one))
            met[first].append(second)
            met[second].append(first)
        for piece in [p for p in self.seen_with if p in home and not met[p]]:
            self.whole_in[piece] = self.seen_with[piece]
            del groups[piece], home[piece]
        return [sorted(group) for group in groups.values()], self._unmet(home, met)

    def _unmet(self, home: dict[int, int], met: dict[int, list[int]]) -> frozenset[int]:
        """Pieces with a cut side on which no piece goes on."""
        found = []
        for piece in home:
            edges = self.tile_box(piece)
            others = [self.tile_box(other) for other in met[piece]]
            for side in np.flatnonzero(self._cut[piece]):
                axis = side % 2
                if not any(other[axis] < edges[side] < other[axis + 2] for other in others):
                    found.append(piece)
                    break
        return frozenset(found)


class _Pair:
    """Two tiles that overlap, and what their pieces are to one another."""

    def __init__(
        self,
        pieces: Pieces,
        tiles: tuple[int, int],
        size: Size,
        margin: Array,
        held: dict[int, dict[int, Runs]],
    ) -> None:
        self._pieces, self._size, self._held = pieces, size, held
        self._boxes = [pieces.tiles[tile].box for tile in tiles]
        self._margins = [float(margin[tile]) for tile in tiles]
        (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = self._boxes
        self._zone = max(ax0, bx0), max(ay0, by0), min(ax1, bx1), min(ay1, by1)
        self._numbers = [pieces.between(tile, self._zone) for tile in tiles]

    def compare(self) -> None:
        """Note what is whole in the other tile, and what may be joined."""
        cut = [self._pieces.cut_in(self._numbers[i], self._boxes[1 - i]) for i in (0, 1)]
        for own in (0, 1):
            seen = cut[own] & self._seen_whole(own)
            cut_there = set(self._numbers[1 - own][cut[1 - own]].tolist())
            for piece in self._numbers[own][seen].tolist():
                whole = self._most_like(piece, self._numbers[1 - own])
                if whole is not None and whole in cut_there:
                    self._pieces.seen_with[piece] = whole
                elif self._pieces.whole_in.get(piece) is None:
                    self._pieces.whole_in[piece] = whole
        joinable = [
            [n for n in self._numbers[i][cut[i]].tolist() if n not in self._pieces.whole_in]
            for i in (0, 1)
        ]
        for first in joinable[0]:
            for second in joinable[1]:
                agreement = self._agreement(first, second)
                if agreement >= _AGREES:
                    self._pieces.join(first, second, agreement=agreement)

    def _seen_whole(self, own: int) -> npt.NDArray[np.bool_]:
        """Which of a tile's pieces the other tile shows from end to end."""
        x0, y0, x1, y1 = self._boxes[1 - own]
        margin, (height, width) = self._margins[1 - own], self._size
        boxes = self._pieces.boxes[self._numbers[own]]
        inside = (boxes[:, 0] > (x0 + margin if x0 else -1)) & (
            boxes[:, 1] > (y0 + margin if y0 else -1)
        )
        inside &= (boxes[:, 2] < x1 - margin) | (x1 == width)
        inside &= (boxes[:, 3] < y1 - margin) | (y1 == height)
        return np.asarray(inside, np.bool_)

    def _most_like(self, piece: int, others: Array) -> int | None:
        """Of another tile's pieces the one that is this one, as far as its tile shows it."""
        scored = [(self._agreement(piece, other), -other) for other in others.tolist()]
        best = max(scored, default=(0.0, 0))
        return -best[1] if best[0] >= _AGREES else None

    def _agreement(self, first: int, second: int) -> float:
        """IoU of two pieces where both tiles look."""
        if not _meet(self._pieces.boxes[first], self._pieces.boxes[second]):
            return 0.0
        one, two = self._seen(first), self._seen(second)
        common = one.common(two)
        return common / max(one.area + two.area - common, 1)

    def _seen(self, piece: int) -> Runs:
        held = self._held[int(self._pieces.tile[piece])]
        if piece not in held:
            held[piece] = self._pieces.runs(piece)
        return held[piece].inside(self._zone)


def _neighbours(tiles: Sequence[TileMasks]) -> Iterator[tuple[int, int]]:
    """Numbers of tiles that overlap, the first ones rising; they are sorted by row and column."""
    for first, tile in enumerate(tiles):
        for second in range(first + 1, len(tiles)):
            if tiles[second].box[1] >= tile.box[3]:
                break
            if _meet(tile.box, tiles[second].box):
                yield first, second


def _meet(first: Sequence[int] | Array, second: Sequence[int] | Array) -> bool:
    across = first[0] < second[2] and second[0] < first[2]
    return bool(across and first[1] < second[3] and second[1] < first[3])
