"""A predictor of a bundle with words, as the words protocol asks it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import overload

import numpy as np

from samedge.errors import PromptError
from samedge.evaluation.words import Mask
from samedge.pixels import metrics
from samedge.pixels.boxes import Box
from samedge.predict.everything import Proposals
from samedge.predict.predictor import Predictor
from samedge.predict.words.finding import proposed_regions
from samedge.predict.words.phrases import known_row
from samedge.predict.words.regions import RegionScorer
from samedge.predict.words.scored import Region, ScoredRegions
from samedge.types import Array


class _Proposed(Sequence[Mask]):
    """The masks of proposals, drawn anew each time: many fill a memory."""

    def __init__(self, own: Proposals) -> None:
        self.own = own

    @overload
    def __getitem__(self, place: int) -> Mask: ...

    @overload
    def __getitem__(self, place: slice) -> list[Mask]: ...

    def __getitem__(self, place: int | slice) -> Mask | list[Mask]:
        if isinstance(place, slice):
            return [one.mask for one in self.own[place]]
        return self.own[place].mask

    def __len__(self) -> int:
        return len(self.own)


@dataclasses.dataclass(frozen=True, eq=False)
class _Given:
    """A mask that nobody proposed."""

    mask: Mask

    @functools.cached_property
    def box(self) -> Box:
        return metrics.bounding_box(self.mask) or (0, 0, 0, 0)


class PredictorWords:
    """A predictor of a bundle with words: :class:`samedge.evaluation.words.WordSubject`.

    Args:
        predictor: opened.

    Raises:
        PromptError: the bundle understands no words.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor, self._scorer = predictor, RegionScorer(predictor.graphs)
        self._table = self._scorer.table

    def off(self, word: str) -> str | None:
        """Why a word is not answered: off in the table, or unknown."""
        try:
            self._scorer.asked(word)
        except PromptError as error:
            return str(error)
        return None

    def own_name(self, word: str) -> str:
        """The table's name of a word, a plural or a synonym."""
        row = known_row(word, self._table)
        return word if row is None else self._table.words[row].name

    def regions(self, image: Array) -> Sequence[Mask]:
        """What is proposed for words, as the clicks drew it."""
        return _Proposed(proposed_regions(self._predictor, image))

    def find(
        self, image: Array, regions: Sequence[Mask], *, words: Sequence[str]
    ) -> list[list[Mask]]:
        """As :func:`samedge.predict.words.finding.find` chooses and draws."""
        if not words:
            return []
        asked = [self._scorer.asked(word)[0] for word in words]  # any number of them
        own = regions.own if isinstance(regions, _Proposed) else [_Given(one) for one in regions]
        scored = ScoredRegions[Region](self._scorer, image, regions=own, words=asked)
        found = scored.named(cut=self._scorer.record.threshold)
        return [[region.mask for region in one.regions] for one in found]

    def drawn(self, regions: Sequence[Mask], places: Sequence[int]) -> list[Mask]:
        """As they are drawn where a word names them; without what comes back as another thing."""
        if not isinstance(regions, _Proposed):
            return [regions[place] for place in places]
        return [one.mask for one in regions.own.drawn_again(places).values()]

    def name(self, image: Array, regions: Sequence[Mask]) -> list[str]:
        """The word of the highest logit among those that can be asked for."""
        logits = self._scorer.embed(image, regions) @ self._table.embeddings.T
        askable = [row for row, word in enumerate(self._table.words) if word.is_askable]
        best = np.asarray(askable)[logits[:, askable].argmax(axis=1)]
        return [self._table.words[row].name for row in best]
