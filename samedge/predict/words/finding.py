"""Words to regions: everything mode proposes, the region scorer names, the better of two stays."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from samedge.errors import OptionError
from samedge.pixels.images import check_image
from samedge.predict.everything import AutomaticMask, EverythingConfig, segment_everything
from samedge.predict.predictor import Predictor
from samedge.predict.words.answers import WordAnswer
from samedge.predict.words.choosing import kept_rows, proposing, without_parts
from samedge.predict.words.phrases import AskedWord
from samedge.predict.words.regions import RegionScorer
from samedge.types import Array, Progress

_AT_ONCE = 64  # masks of a photo that are in memory together


@dataclasses.dataclass(frozen=True, eq=False)
class FoundRegion:
    """A region that a word names.

    Attributes:
        word: the bundle's name of it, or the phrase.
        score: 0 to 1: the logistic function of the margin.
        margin: log-odds of the word against the background words.
        region: the mask.
    """

    word: str
    score: float
    margin: float
    region: AutomaticMask


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """The regions of an image that some words name.

    Attributes:
        regions: by falling score.
        words: one answer a word, in the order in which they were asked.
        candidates: regions that were looked at.
        timing_ms: ``propose`` and ``score``.
    """

    regions: tuple[FoundRegion, ...]
    words: tuple[WordAnswer, ...]
    candidates: int
    timing_ms: dict[str, float]


def find(
    predictor: Predictor,
    words: str | Sequence[str],
    *,
    image: Array,
    proposals: Sequence[AutomaticMask] | None = None,
    config: EverythingConfig | None = None,
    threshold: float | None = None,
    progress: Progress | None = None,
) -> Found:
    """Find the things that words name.

    Args:
        predictor: of a bundle with words.
        words: one or more names; commas separate several in one text.
        image: (H, W, 3) uint8 RGB.
        proposals: regions to choose among; ``None`` takes those of everything mode.
        config: of everything mode; ``None`` looks at one layer of crops at most.
        threshold: the lowest score, 0 to 1; ``None`` takes the bundle's.
        progress: as of :func:`segment_everything`.

    Returns:
        The regions; none where the image shows none of the things.

    Raises:
        PromptError: a word is not understood, or the bundle understands none.
        OptionError: a threshold that is no share.
        ImageError, InferenceError: as of :func:`segment_everything`.
    """
    check_image(image)
    scorer = RegionScorer(predictor.graphs)
    asked, cut = scorer.asked(words), _margin(threshold, scorer)
    start = time.perf_counter()
    if proposals is None:
        config = config or proposing(predictor.manifest)
        proposals = segment_everything(predictor, image, config=config, progress=progress)
    proposed = time.perf_counter()
    margins = scorer.margins(embedded(scorer, image, regions=proposals), asked)
    regions: list[FoundRegion] = []
    answers = []
    boxes = np.array([proposal.box for proposal in proposals], np.float64).reshape(-1, 4)
    for column, word in zip(margins.T, asked, strict=True):
        kept = kept_rows(column, boxes, cut=cut, suppression=scorer.record.suppression)
        kept = without_parts(kept, lambda row: proposals[row].mask)
        regions += [_found(word.word, column[row], proposals[row]) for row in kept]
        best = _score(column.max()) if len(column) else None
        answer = WordAnswer(asked=word.text, word=word.word, found=len(kept), best_score=best)
        answers.append(answer)
    return Found(
        regions=tuple(sorted(regions, key=lambda region: -region.margin)),
        words=tuple(answers),
        candidates=len(proposals),
        timing_ms={
            "propose": (proposed - start) * 1e3,
            "score": (time.perf_counter() - proposed) * 1e3,
        },
    )


def named(
    predictor: Predictor, image: Array, *, regions: Sequence[AutomaticMask]
) -> list[FoundRegion | None]:
    """The best word of every region; ``None`` for one that no word names well enough.

    Args:
        predictor: of a bundle with words.
        image: (H, W, 3) uint8 RGB.
        regions: of it.

    Raises:
        PromptError: the bundle understands no words.
        InferenceError: the backend failed.
    """
    scorer = RegionScorer(predictor.graphs)
    known = [(scorer.table.words[row].name, row) for row in scorer.table.askable]
    words = [AskedWord(name, name, row) for name, row in known]
    margins = scorer.margins(embedded(scorer, image, regions=regions), words)
    names: list[FoundRegion | None] = []
    for row, region in zip(margins, regions, strict=True):
        best = int(np.argmax(row))
        is_clear = row[best] > scorer.record.threshold
        names.append(_found(words[best].word, row[best], region) if is_clear else None)
    return names


def embedded(scorer: RegionScorer, image: Array, *, regions: Sequence[AutomaticMask]) -> Array:
    """(N, D) float32 embeddings of regions, whose masks are drawn a few at a time.

    Raises:
        InferenceError: the backend failed.
    """
    parts = [scorer.embed(image, [])]
    for start in range(0, len(regions), _AT_ONCE):
        masks = [region.mask for region in regions[start : start + _AT_ONCE]]
        parts.append(scorer.embed(image, masks))
    return np.concatenate(parts)


def _margin(threshold: float | None, scorer: RegionScorer) -> float:
    if threshold is None:
        return scorer.record.threshold
    if not 0.0 < threshold < 1.0:
        raise OptionError(f"threshold is {threshold}, expected a score between 0 and 1.")
    return float(np.log(threshold / (1 - threshold)))


def _found(word: str, margin: float, region: AutomaticMask) -> FoundRegion:
    return FoundRegion(word, _score(margin), float(margin), region)


def _score(margin: float) -> float:
    return float(1 / (1 + np.exp(-np.float64(margin))))
