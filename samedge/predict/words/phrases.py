"""What a text asks for: names of things that a table knows, their plurals and synonyms.

Nothing is guessed. A phrase that says more than what a thing is, such as "the largest dog", is
refused with what is understood of it, and an unknown word with the nearest known ones.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence

from samedge.bundle.words import WordTable, normalised
from samedge.errors import PromptError

_LONGEST = 200  # characters of one phrase
_MOST = 64  # words of one call
_SHOWN = 5
_ALIKE = 0.7
"""Share of letters by which an unknown word is a slip of a known one, not another word."""
_RELATION_WORDS = """
left right top bottom upper lower middle center centre front back behind beside between near next
above below under over on in inside outside with without no not except only other another
first second third last one two three four five six seven eight nine ten both and or
biggest largest smallest most least more less than bigger larger smaller that which who whose
wearing holding his her their my your
"""
_RELATIONS = frozenset(_RELATION_WORDS.split())
"""Words that place, count, compare, join or exclude things."""
_SUPERLATIVE = re.compile(r"\w{3,}est")
_NO_SUPERLATIVES = frozenset({"forest", "chest", "nest", "vest", "guest", "pest", "harvest"})
_IRREGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "mice": "mouse",
    "geese": "goose",
    "oxen": "ox",
    "feet": "foot",
    "teeth": "tooth",
    "wolves": "wolf",
    "loaves": "loaf",
}


@dataclasses.dataclass(frozen=True)
class AskedWord:
    """One thing that is asked for.

    Attributes:
        text: as it was given.
        word: the table's own name of it, or the phrase itself where a text encoder reads it.
        row: of the table; ``None`` for a phrase.
    """

    text: str
    word: str
    row: int | None


def asked_words(texts: Sequence[str], table: WordTable, *, free: bool) -> tuple[AskedWord, ...]:
    """Read what is asked for.

    Args:
        texts: words or phrases; commas separate several in one.
        table: the words that are known.
        free: whether a text encoder reads phrases that the table does not know.

    Returns:
        One entry a thing, each thing once.

    Raises:
        PromptError: nothing is asked, a phrase says more than what a thing is, a word is unknown or
            off in this model, or there are too many.
    """
    parts = [part for text in texts for part in text.split(",") if part.strip()]
    if not parts:
        raise PromptError("The text is empty: give names of things, such as 'dog' or 'dog, cat'.")
    if len(parts) > _MOST:
        raise PromptError(f"{len(parts)} words were asked for, expected at most {_MOST}.")
    found: dict[str, AskedWord] = {}
    for part in parts:
        asked = _asked(part, table, free=free)
        found.setdefault(asked.word, asked)
    return tuple(found.values())


def _asked(text: str, table: WordTable, *, free: bool) -> AskedWord:
    if len(text) > _LONGEST:
        raise PromptError(f"A phrase has {len(text)} characters, expected at most {_LONGEST}.")
    phrase = normalised(text)
    if not phrase:
        raise PromptError(f"{text.strip()!r} names nothing: give the name of a thing.")
    row = _row(phrase, table)
    if row is not None:
        return _known(text, table, row)
    _refuse_relations(text, phrase, table)
    if free:
        return AskedWord(text.strip(), phrase, None)
    raise _unknown(text, phrase, table)


def singulars(phrase: str) -> Iterator[str]:
    """What a phrase may be the plural of, the phrase itself first."""
    yield phrase
    before, space, noun = phrase.rpartition(" ")
    for single in _single_nouns(noun):
        yield f"{before}{space}{single}"


def _single_nouns(noun: str) -> Iterator[str]:
    if noun in _IRREGULAR:
        yield _IRREGULAR[noun]
    if len(noun) > 3 and noun.endswith("ves"):
        yield from (f"{noun[:-3]}f", f"{noun[:-3]}fe")
    if len(noun) > 3 and noun.endswith("ies"):
        yield f"{noun[:-3]}y"
    if len(noun) > 3 and noun.endswith("es"):
        yield noun[:-2]
    if len(noun) > 2 and noun.endswith("s"):
        yield noun[:-1]
    yield f"{noun}s"  # of those that have no singular: scissors, skis


def known_row(text: str, table: WordTable) -> int | None:
    """Row of a thing by any of its names; ``None`` where the table does not know it."""
    return _row(normalised(text), table)


def _row(phrase: str, table: WordTable) -> int | None:
    joined = table.joined_rows
    for single in singulars(phrase):
        if single in table.rows:
            return table.rows[single]
        if single.replace(" ", "") in joined:  # hotdog, tooth brush
            return joined[single.replace(" ", "")]
    return None


def _known(text: str, table: WordTable, row: int) -> AskedWord:
    word = table.words[row]
    if word.off is not None:
        raise PromptError(
            f"{word.name!r} is known and off in this model: {word.off}. Give a point or a box, or "
            "use a bundle with another model of words."
        )
    return AskedWord(text.strip(), word.name, row)


def _refuse_relations(text: str, phrase: str, table: WordTable) -> None:
    tokens = phrase.split()
    wrong = [token for token in tokens if _is_relation(token)]
    if not wrong:
        return
    things = _things_in(tokens, table)
    understood = f"of it {_listed(things)} is understood" if things else "none of it is understood"
    example = things[0] if things else "dog"
    raise PromptError(
        f"{text.strip()!r} is not understood: {wrong[0]!r} says more than what a thing is; "
        f"{understood}. Ask for names of things alone, such as {example!r} or several with commas, "
        "and choose among the results by their place, size or score."
    )


def _is_relation(token: str) -> bool:
    is_superlative = _SUPERLATIVE.fullmatch(token) and token not in _NO_SUPERLATIVES
    return token in _RELATIONS or token.isdecimal() or bool(is_superlative)


def _things_in(tokens: Sequence[str], table: WordTable) -> list[str]:
    """Names of the known things in a phrase, longest spans first, in their order."""
    found: dict[str, None] = {}
    start = 0
    while start < len(tokens):
        for stop in range(len(tokens), start, -1):
            row = _row(" ".join(tokens[start:stop]), table)
            if row is not None:
                found[table.words[row].name] = None
                start = stop - 1
                break
        start += 1
    return list(found)


def _unknown(text: str, phrase: str, table: WordTable) -> PromptError:
    things = _things_in(phrase.split(), table)
    count = sum(word.is_askable for word in table.words)
    if things:
        return PromptError(
            f"{text.strip()!r} is not understood: of it {_listed(things)} is. This model knows "
            f"{count} names of things and no phrases: ask for {things[-1]!r}."
        )
    near = nearest_words(phrase, table)
    hint = f"The nearest known ones are {_listed(near)}." if near else "No known one is near."
    return PromptError(
        f"This model does not know {text.strip()!r}. {hint} It knows {count} words, which "
        "`samedge inspect` lists."
    )


def nearest_words(phrase: str, table: WordTable) -> list[str]:
    """Known words that an unknown one is most like, the likest first."""
    candidates = [*singulars(phrase), phrase.split()[-1]]
    ranked: dict[str, float] = {}
    for name, row in table.rows.items():
        ratio = max(difflib.SequenceMatcher(None, c, name).ratio() for c in candidates)
        word = table.words[row].name
        ranked[word] = max(ranked.get(word, 0.0), ratio)
    best = sorted(ranked, key=lambda word: -ranked[word])[:_SHOWN]
    return [word for word in best if ranked[word] >= _ALIKE]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
