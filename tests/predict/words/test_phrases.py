from __future__ import annotations

import numpy as np
import pytest

from samedge.bundle.words import Word, WordTable, normalised
from samedge.errors import PromptError
from samedge.predict.words.phrases import asked_words, nearest_words

NAMES = {
    "person": ["man", "child"],
    "wine glass": ["goblet"],
    "knife": [],
    "dog": ["puppy"],
    "cat": [],
    "scissors": ["shears"],
    "hot dog": [],
    "car": ["sports car"],
    "bus": [],
    "mouse": [],
    "sheep": [],
    "couch": ["sofa"],
}


@pytest.fixture(scope="module")
def table() -> WordTable:
    words = [Word(name=name, synonyms=others) for name, others in NAMES.items()]
    words.append(Word(name="sky", is_askable=False))
    return WordTable(tuple(words), np.zeros((len(words), 2), np.float32))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("dog", "dog"),
        (" A  Dog! ", "dog"),
        ("the dogs", "dog"),
        ("puppies", "dog"),
        ("children", "person"),
        ("men", "person"),
        ("people", "person"),
        ("knives", "knife"),
        ("wine-glasses", "wine glass"),
        ("buses", "bus"),
        ("mice", "mouse"),
        ("sheep", "sheep"),
        ("scissor", "scissors"),
        ("hotdogs", "hot dog"),
        ("all cats", "cat"),
        ("ＣＡＲ", "car"),
        ("sofas", "couch"),
    ],
)
def test_plurals_synonyms_and_spelling(table: WordTable, text: str, word: str) -> None:
    (asked,) = asked_words([text], table, free=False)
    assert asked.word == word
    assert asked.text == text.strip()
    assert asked.row == list(NAMES).index(word)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(
    "text", ["T-shirts", "t shirt", "tshirt", "farmer's hat", "oil_can", "Oil cans"]
)
def test_names_with_marks_can_be_asked_for(text: str, free: bool) -> None:
    """With a text encoder a name that is missed would compete with its own row."""
    words = (Word(name="t-shirt", synonyms=["farmer's hat"]), Word(name="oil_can"))
    (asked,) = asked_words([text], WordTable(words, np.zeros((2, 2), np.float32)), free=free)
    assert asked.row == (1 if "oil" in text.lower() else 0)


def test_several_words_each_once(table: WordTable) -> None:
    asked = asked_words(["dog, cats", "puppy"], table, free=False)
    assert [entry.word for entry in asked] == ["dog", "cat"]


@pytest.mark.parametrize(
    ("text", "wrong", "understood"),
    [
        ("the largest dog", "largest", "'dog' is understood"),
        ("two cats", "two", "'cat' is understood"),
        ("3 cats", "3", "'cat' is understood"),
        ("man with a dog", "with", "'person', 'dog' is understood"),
        ("dog and cat", "and", "'dog', 'cat' is understood"),
        ("left car", "left", "'car' is understood"),
        ("tallest thing", "tallest", "none of it is understood"),
    ],
)
@pytest.mark.parametrize("free", [False, True])
def test_more_than_a_name_is_refused(
    table: WordTable, text: str, wrong: str, understood: str, free: bool
) -> None:
    with pytest.raises(PromptError) as caught:
        asked_words([text], table, free=free)
    assert f"'{wrong}' says more than what a thing is" in str(caught.value)
    assert understood in str(caught.value)


def test_unknown_words_are_answered_with_the_nearest(table: WordTable) -> None:
    with pytest.raises(PromptError, match=r"does not know 'shep'.*'sheep'"):
        asked_words(["shep"], table, free=False)
    with pytest.raises(PromptError, match="ask for 'car'"):
        asked_words(["red car"], table, free=False)
    with pytest.raises(PromptError, match="does not know 'sky'"):
        asked_words(["sky"], table, free=False)
    assert nearest_words("knif", table)[0] == "knife"
    assert nearest_words("xylophone", table) == []
    assert nearest_words("cloud", table) == []  # half of its letters are those of couch


def test_a_text_encoder_reads_phrases(table: WordTable) -> None:
    (asked,) = asked_words(["A red car"], table, free=True)
    assert (asked.word, asked.row) == ("red car", None)
    (known,) = asked_words(["sofas"], table, free=True)
    assert known.row is not None


@pytest.mark.parametrize("texts", [[], [""], [" , ,"], ["?!"]])
def test_nothing_is_refused(table: WordTable, texts: list[str]) -> None:
    with pytest.raises(PromptError, match=r"empty|names nothing"):
        asked_words(texts, table, free=False)


def test_floods_are_refused(table: WordTable) -> None:
    with pytest.raises(PromptError, match="at most 64"):
        asked_words([",".join(["dog"] * 65)], table, free=False)
    with pytest.raises(PromptError, match="at most 200"):
        asked_words(["d" * 201], table, free=True)


def test_normalising_keeps_letters_of_all_scripts() -> None:
    assert normalised("the Café") == "café"
    assert normalised("犬") == "犬"
