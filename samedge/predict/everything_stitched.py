"""Masks of tiles that overlap, put together into those of the whole picture.

What a tile's edge cuts, and a neighbour shows whole, is the neighbour's. What is longer than the
overlap is joined: the pieces of two tiles that agree where both look are one mask. What is left
with an open end says so. Of a thing that two tiles show whole the better rated mask stays.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from samedge.pixels.boxes import Box
from samedge.pixels.runs import runs_from_rle, union
from samedge.predict.everything_candidates import ranks
from samedge.predict.everything_masks import PART, AutomaticMask
from samedge.predict.everything_pieces import Pieces, TileMasks
from samedge.predict.everything_suppression import between_groups, soft_order
from samedge.types import Array, Size


def stitched(
    tiles: Sequence[TileMasks],
    *,
    size: Size,
    cell: float,
    suppression: float,
    stability_weight: float,
    sigma: float = 0.0,
) -> list[AutomaticMask]:
    """The masks of a picture, the best ranked first.

    Args:
        tiles: that cover it, in any order.
        size: its ``(height, width)``.
        cell: share of a tile's side, of a decoder's low-res logit: what ends nearer to an edge than
            that is cut by it.
        suppression: of two tiles' masks whose boxes overlap more, the lower ranked one goes.
        stability_weight: of the ranking.
        sigma: of Soft-NMS, which lets near duplicates come later; 0 is without it.
    """
    if len(tiles) == 1:
        return list(tiles[0].masks)
    ordered = sorted(tiles, key=lambda tile: (tile.box[1], tile.box[0]))
    pieces = Pieces(ordered, size=size, cell=cell)
    order = functools.partial(soft_order, sigma=sigma)
    return _Picture(pieces, size, suppression, stability_weight).masks(order)


class _Picture:
    """The masks of a picture out of its pieces."""

    def __init__(
        self, pieces: Pieces, size: Size, suppression: float, stability_weight: float
    ) -> None:
        self._pieces, self._size = pieces, size
        self._suppression, self._weight = suppression, stability_weight
        self._alone: set[int] = set()

    def masks(self, order_of: Callable[[Array, Array], list[int]]) -> list[AutomaticMask]:
        """One a thing, each with the place of what it is a part of.

        Args:
            order_of: boxes and scores to the order in which they come.
        """
        groups = self._pieces.groups
        found = [self._mask(group) for group in groups]
        iou = np.array([mask.predicted_iou for mask in found], np.float64)
        stability = np.array([mask.stability_score for mask in found], np.float64)
        scores = ranks(iou, stability, weight=self._weight)
        boxes = np.array([mask.box for mask in found], np.float64).reshape(-1, 4)
        winners = between_groups(
            boxes,
            scores,
            groups=[frozenset(self._pieces.tile[group].tolist()) for group in groups],
            threshold=self._suppression,
        )
        kept = np.flatnonzero(winners == np.arange(len(found)))
        order = kept[order_of(boxes[kept], scores[kept])].tolist()
        place = {number: rank for rank, number in enumerate(order)}
        self._alone = {groups[number][0] for number in order if len(groups[number]) == 1}
        thing = {
            piece: place[int(winners[number])]
            for number, group in enumerate(groups)
            for piece in group
        }
        ranked = [found[number] for number in order]
        return [
            dataclasses.replace(mask, parent=self._parent(rank, groups[number], ranked, thing))
            for rank, (mask, number) in enumerate(zip(ranked, order, strict=True))
        ]

    def _mask(self, group: Sequence[int]) -> AutomaticMask:
        """The pieces of a thing as one mask of the picture."""
        pieces = [self._placed(piece) for piece in group]
        is_cut = any(piece in self._pieces.open_ends for piece in group)
        runs = union([self._pieces.runs(piece) for piece in group])
        areas = np.array([mask.area for mask in pieces], np.float64)
        largest = pieces[int(areas.argmax())]
        looked = np.array([mask.crop_box for mask in pieces])
        (left, top), (right, bottom) = looked[:, :2].min(axis=0), looked[:, 2:].max(axis=0)
        return dataclasses.replace(
            largest,
            rle=runs.rle(self._size),
            box=runs.box,
            area=runs.area,
            predicted_iou=float(np.average([m.predicted_iou for m in pieces], weights=areas)),
            stability_score=float(np.average([m.stability_score for m in pieces], weights=areas)),
            crop_box=(int(left), int(top), int(right), int(bottom)),
            focus=largest.focus if len(pieces) == 1 else None,
            is_cut=is_cut,
        )

    def _placed(self, piece: int) -> AutomaticMask:
        """A tile's mask with its places in the picture, and its run lengths still in the tile."""
        mask = self._pieces.masks[piece]
        x, y, _, _ = self._pieces.tile_box(piece)
        return dataclasses.replace(
            mask,
            point=(mask.point[0] + x, mask.point[1] + y),
            crop_box=_shifted(mask.crop_box, x, y),
            focus=None if mask.focus is None else _shifted(mask.focus, x, y),
        )

    def _parent(
        self,
        rank: int,
        group: Sequence[int],
        ranked: Sequence[AutomaticMask],
        thing: dict[int, int],
    ) -> int | None:
        """The smallest mask that contains the thing, of those that its tiles say do."""
        direct = self._pieces.in_tile(group[0], self._pieces.masks[group[0]].parent)
        if len(group) == 1 and direct in self._alone:  # as its tile has found it
            return thing[direct]
        offers = {thing[p] for piece in group for p in self._containing(piece) if p in thing}
        offers.discard(rank)
        own = ranked[rank]
        larger = [offer for offer in offers if PART * ranked[offer].area > own.area]
        if not larger:
            return None
        pixels = runs_from_rle(own.rle)
        for offer in sorted(larger, key=lambda offer: (ranked[offer].area, offer)):
            if pixels.common(runs_from_rle(ranked[offer].rle)) >= PART * own.area:
                return offer
        return None

    def _containing(self, piece: int) -> Iterator[int]:
        """The pieces that contain one in its tile, and what shows these whole."""
        above = self._pieces.in_tile(piece, self._pieces.masks[piece].parent)
        while above is not None:
            shown, seen = above, {above}
            while (whole := self._pieces.whole_in.get(shown)) is not None and whole not in seen:
                shown = whole
                seen.add(whole)
            yield shown
            above = self._pieces.in_tile(above, self._pieces.masks[above].parent)


def _shifted(box: Box, x: int, y: int) -> Box:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y
