"""Regions of an image held against words; those that a word may name are drawn again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, Protocol, TypeVar, cast

import numpy as np

from samedge.pixels.boxes import Box
from samedge.predict.everything_masks import AutomaticMask
from samedge.predict.everything_proposals import Proposals
from samedge.predict.words.choosing import close_rows, kept_rows, without_parts
from samedge.predict.words.phrases import AskedWord
from samedge.predict.words.regions import RegionScorer
from samedge.types import Array

_AT_ONCE = 64  # masks of a photo that are in memory together


class Region(Protocol):
    """What is held against words."""

    @property
    def mask(self) -> Array:
        """(H, W) bool."""
        ...

    @property
    def box(self) -> Box:
        """Around the mask."""
        ...


AnyRegion = TypeVar("AnyRegion", bound=Region)


@dataclasses.dataclass(frozen=True, eq=False)
class Named(Generic[AnyRegion]):
    """What became of one word.

    Attributes:
        regions: that it names, the best first; of proposals as they were drawn again.
        margins: log-odds of each.
        best: the highest log-odds of any region; ``None`` where there is none.
    """

    regions: list[AnyRegion]
    margins: list[float]
    best: float | None


class ScoredRegions(Generic[AnyRegion]):
    """Regions of one image and how far each prefers some words.

    Args:
        scorer: of the bundle.
        image: (H, W, 3) uint8 RGB.
        regions: of it; those of :class:`Proposals` are drawn again where a word may name them.
        words: that are asked for.

    Raises:
        InferenceError: the backend failed.
    """

    def __init__(
        self,
        scorer: RegionScorer,
        image: Array,
        *,
        regions: Sequence[AnyRegion],
        words: Sequence[AskedWord],
    ) -> None:
        self._scorer, self._image, self._words = scorer, image, words
        self._regions = list(regions)
        self._proposals = regions if isinstance(regions, Proposals) else None
        self.margins = scorer.margins(embedded(scorer, image, regions=regions), words)
        self._again: dict[int, tuple[AnyRegion, Array]] = {}
        self._asked: set[int] = set()

    def named(self, *, cut: float) -> list[Named[AnyRegion]]:
        """What each word names; words do not influence one another.

        Args:
            cut: a region's margin has to be larger.

        Raises:
            InferenceError: the backend failed.
        """
        self._draw({row for column in self.margins.T for row in self._due(column, cut)})
        found = [self._named(number, cut) for number in range(len(self._words))]
        return found if self._proposals is None else self._looked_closer(found, self._proposals)

    def _named(self, number: int, cut: float) -> Named[AnyRegion]:
        column, regions = self.margins[:, number].copy(), list(self._regions)
        settled: set[int] = set()
        while due := self._due(column, cut) - settled:
            self._draw(due)
            for row in due:
                column[row] = -np.inf
                if row in self._again:
                    regions[row], margins = self._again[row]
                    column[row] = margins[number]
            settled |= due
        boxes = np.array([region.box for region in regions], np.float64).reshape(-1, 4)
        rows = kept_rows(column, boxes, cut=cut, suppression=self._scorer.record.suppression)
        rows = without_parts(rows, lambda row: regions[row].mask)
        best = float(column.max(initial=-np.inf))
        return Named(
            regions=[regions[row] for row in rows],
            margins=[float(column[row]) for row in rows],
            best=best if np.isfinite(best) else None,
        )

    def _due(self, column: Array, cut: float) -> set[int]:
        """Rows to be drawn again: of what a word may name, and of its best, whose score is told."""
        if self._proposals is None or not np.isfinite(column.max(initial=-np.inf)):
            return set()
        return {int(column.argmax()), *close_rows(column, cut=cut).tolist()}

    def _draw(self, rows: AbstractSet[int]) -> None:
        """Draw regions again and score them anew; what comes back as another thing is left out."""
        if self._proposals is None:
            return
        due = sorted(rows - self._asked)
        drawn = cast("dict[int, AnyRegion]", self._proposals.drawn_again(due))
        changed = [row for row in drawn if drawn[row] is not self._regions[row]]
        embeddings = embedded(self._scorer, self._image, regions=[drawn[row] for row in changed])
        anew = dict(zip(changed, self._scorer.margins(embeddings, self._words), strict=True))
        for row, region in drawn.items():
            self._again[row] = region, anew.get(row, self.margins[row])
        self._asked.update(due)

    def _looked_closer(
        self, found: Sequence[Named[AnyRegion]], proposals: Proposals
    ) -> list[Named[AnyRegion]]:
        """The same, small regions from a closer look where the predictor takes one."""
        first = {id(region): region for one in found for region in one.regions}
        masks = cast("list[AutomaticMask]", list(first.values()))
        closer = cast("list[AnyRegion]", proposals.looked_closer(masks))
        by_id = dict(zip(first, closer, strict=True))
        return [
            dataclasses.replace(one, regions=[by_id[id(region)] for region in one.regions])
            for one in found
        ]


def embedded(scorer: RegionScorer, image: Array, *, regions: Sequence[Region]) -> Array:
    """(N, D) float32 embeddings of regions, whose masks are drawn a few at a time.

    Raises:
        InferenceError: the backend failed.
    """
    parts = [scorer.embed(image, [])]
    for start in range(0, len(regions), _AT_ONCE):
        masks = [region.mask for region in regions[start : start + _AT_ONCE]]
        parts.append(scorer.embed(image, masks))
    return np.concatenate(parts)
