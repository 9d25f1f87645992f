"""Words to regions: everything mode proposes, the region scorer names, the better of two stays."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence

import numpy as np

from samedge.errors import OptionError
from samedge.pixels.images import check_image
from samedge.pixels.part_reading import Parts
from samedge.predict import everything
from samedge.predict.everything import AutomaticMask, EverythingConfig, Proposals
from samedge.predict.predictor import Predictor
from samedge.predict.words.answers import WordAnswer
from samedge.predict.words.choosing import MOST_REGIONS, proposing
from samedge.predict.words.part_crops import part_crops
from samedge.predict.words.phrases import AskedWord
from samedge.predict.words.regions import RegionScorer
from samedge.predict.words.scored import ScoredRegions, embedded
from samedge.types import Array, Progress, Steps


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
        candidates: regions that were held against the words.
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
        proposals: regions to choose among; ``None`` takes :func:`proposed_regions`, which are drawn
            again where a word may name them.
        config: as of :func:`proposed_regions`.
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
    regions = proposals
    if regions is None:
        regions = proposed_regions(predictor, image, config=config, progress=progress)
    proposed = time.perf_counter()
    scored = ScoredRegions(scorer, image, regions=regions, words=asked)
    found, answers = [], []
    for word, named in zip(asked, scored.named(cut=cut), strict=True):
        pairs = zip(named.regions, named.margins, strict=True)
        found += [_found(word.word, margin, region) for region, margin in pairs]
        best = None if named.best is None else _score(named.best)
        count = len(named.regions)
        answers.append(WordAnswer(asked=word.text, word=word.word, found=count, best_score=best))
    return Found(
        regions=tuple(sorted(found, key=lambda region: -region.margin)),
        words=tuple(answers),
        candidates=len(regions),
        timing_ms={
            "propose": (proposed - start) * 1e3,
            "score": (time.perf_counter() - proposed) * 1e3,
        },
    )


def proposed_regions(
    predictor: Predictor,
    image: Array,
    *,
    config: EverythingConfig | None = None,
    progress: Progress | None = None,
) -> Proposals:
    """What is held against words where nobody gives regions: the best that clicks find.

    Args:
        predictor: an open predictor.
        image: (H, W, 3) uint8 RGB.
        config: of everything mode; what it leaves open is that of words.
        progress: hears of every batch of clicks.

    Raises:
        ImageError: not such an array.
        InferenceError: the backend failed.
    """
    config = proposing(predictor.manifest, config)
    found = everything.proposals(predictor, image, config=config, progress=progress)
    return found.best(MOST_REGIONS)


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
    return best_words(scorer, embedded(scorer, image, regions=regions), regions=regions)


def named_in_parts(
    predictor: Predictor,
    picture: Parts,
    *,
    regions: Sequence[AutomaticMask],
    longest: int,
    progress: Progress | None = None,
) -> list[FoundRegion | None]:
    """As :func:`named`, of a picture that is read part by part, once more from its beginning.

    Args:
        predictor: of a bundle with words.
        picture: open.
        regions: of it.
        longest: side of what is read at once, pixels.
        progress: hears of every few regions.

    Raises:
        PromptError: the bundle understands no words.
        ImageError: the file is damaged, or changed.
        InferenceError: the backend failed.
    """
    scorer = RegionScorer(predictor.graphs)
    embeddings = np.zeros((len(regions), scorer.length), np.float32)
    crops = part_crops(picture, regions, record=scorer.record, side=scorer.side, longest=longest)
    steps = Steps(len(regions), progress=progress)
    while few := list(itertools.islice(crops, scorer.batch)):
        numbers = [number for number, _ in few]
        embeddings[numbers] = scorer.embed_crops(np.stack([crop for _, crop in few]))
        steps.reach(steps.done + len(few))
    return best_words(scorer, embeddings, regions=regions)


def best_words(
    scorer: RegionScorer, embeddings: Array, *, regions: Sequence[AutomaticMask]
) -> list[FoundRegion | None]:
    """The best word of every region; ``None`` for one that no word names well enough.

    Args:
        scorer: of the bundle.
        embeddings: (N, D) of the regions.
        regions: N of them.
    """
    known = [(scorer.table.words[row].name, row) for row in scorer.table.askable]
    words = [AskedWord(name, name, row) for name, row in known]
    names: list[FoundRegion | None] = []
    for row, region in zip(scorer.margins(embeddings, words), regions, strict=True):
        best = int(np.argmax(row))
        is_clear = row[best] > scorer.record.own_label_threshold
        names.append(_found(words[best].word, row[best], region) if is_clear else None)
    return names


def _margin(threshold: float | None, scorer: RegionScorer) -> float:
    if threshold is None:
        return scorer.record.threshold
    given: object = threshold
    if not isinstance(given, float | int) or not 0.0 < given < 1.0:
        raise OptionError(f"threshold is {threshold!r}, expected a score between 0 and 1.")
    return float(np.log(threshold / (1 - threshold)))


def _found(word: str, margin: float, region: AutomaticMask) -> FoundRegion:
    return FoundRegion(word, _score(margin), float(margin), region)


def _score(margin: float) -> float:
    return float(1 / (1 + np.exp(-np.float64(margin))))
