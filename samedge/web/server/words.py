"""Words for the endpoints: those that a bundle knows, and the masks that they name."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from samedge.bundle.words import read_table
from samedge.errors import PromptError
from samedge.formats.masks import MaskRecord, prompt_record
from samedge.predict.predictor import Predictor
from samedge.predict.words.answers import WordAnswer
from samedge.predict.words.finding import Found, FoundRegion, find, proposed_regions
from samedge.predict.words.regions import RegionScorer
from samedge.types import Array, Progress, Prompt
from samedge.web.server.word_messages import KnownWord


def known_words(predictor: Predictor) -> list[KnownWord]:
    """The words that may be asked for, by their names; none of a bundle without words."""
    table = read_table(predictor.graphs.bundle)
    known = () if table is None else (word for word in table.words if word.is_askable)
    listed = [KnownWord(name=one.name, synonyms=one.synonyms, off=one.off) for one in known]
    return sorted(listed, key=lambda word: word.name)


def reads_phrases(predictor: Predictor) -> bool:
    """Whether a bundle understands phrases that are no words of its table."""
    words = predictor.manifest.own_words
    return words is not None and words.merges is not None


def found_records(
    predictor: Predictor, image: Array, *, prompts: Sequence[Prompt], progress: Progress
) -> tuple[dict[int, list[MaskRecord]], list[WordAnswer]]:
    """The masks that the words of some prompts name; the regions are proposed once for all.

    Args:
        predictor: of a bundle with words.
        image: (H, W, 3) uint8 RGB.
        prompts: of any kind; those without words are left out.
        progress: hears of every batch of clicks of the proposals.

    Returns:
        Records by the place of their prompt, and one answer a word, in the order of the prompts.

    Raises:
        PromptError: a word is not understood, or the bundle understands none.
        InferenceError: the backend failed.
    """
    texts = {place: one.text for place, one in enumerate(prompts) if one.text is not None}
    scorer = RegionScorer(predictor.graphs)
    for text in texts.values():
        scorer.asked(text)  # what is not understood is said before the long work
    regions = proposed_regions(predictor, image, progress=progress)
    records: dict[int, list[MaskRecord]] = {}
    answers: list[WordAnswer] = []
    for place, text in texts.items():
        found: Found = find(predictor, text, image=image, proposals=regions)
        prompt = prompt_record(prompts[place], place)
        records[place] = [
            msgspec.structs.replace(word_record(one), prompt=prompt) for one in found.regions
        ]
        answers += found.words
    return records, answers


def word_record(found: FoundRegion) -> MaskRecord:
    """A region as it is told, with the word that names it."""
    return msgspec.structs.replace(
        found.region.record(), category=found.word, word_score=round(found.score, 6)
    )


def check_candidates(prompts: Sequence[Prompt], *, multimask: bool) -> None:
    """Refuse to give the candidates of words.

    Raises:
        PromptError: they were asked for, and words have none.
    """
    texts = [prompt.text for prompt in prompts if prompt.text is not None]
    if multimask and texts:
        raise PromptError(f"The words {texts[0]!r} have no candidates: leave out multimask.")
