"""A predictor of a bundle with words, as the words protocol asks it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samedge.errors import PromptError
from samedge.evaluation.words import Mask
from samedge.pixels import metrics
from samedge.predict.everything import segment_everything
from samedge.predict.predictor import Predictor
from samedge.predict.words.choosing import kept_rows, proposing, without_parts
from samedge.predict.words.phrases import known_row
from samedge.predict.words.regions import RegionScorer
from samedge.types import Array


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
        """What everything mode proposes for words."""
        config = proposing(self._predictor.manifest)
        return [found.mask for found in segment_everything(self._predictor, image, config=config)]

    def find(
        self, image: Array, regions: Sequence[Mask], *, words: Sequence[str]
    ) -> list[list[int]]:
        """As :func:`samedge.predict.words.finding.find` chooses."""
        if not words:
            return []
        asked = [self._scorer.asked(word)[0] for word in words]  # any number of them
        margins = self._scorer.margins(self._scorer.embed(image, regions), asked)
        boxes = np.array([metrics.bounding_box(mask) or (0, 0, 0, 0) for mask in regions])
        boxes, record = boxes.astype(np.float64).reshape(-1, 4), self._scorer.record
        found = [
            kept_rows(column, boxes, cut=record.threshold, suppression=record.suppression)
            for column in margins.T
        ]
        return [without_parts(rows, lambda row: regions[row]) for rows in found]

    def name(self, image: Array, regions: Sequence[Mask]) -> list[str]:
        """The word of the highest logit among those that can be asked for."""
        logits = self._scorer.embed(image, regions) @ self._table.embeddings.T
        askable = [row for row, word in enumerate(self._table.words) if word.is_askable]
        best = np.asarray(askable)[logits[:, askable].argmax(axis=1)]
        return [self._table.words[row].name for row in best]
