"""The words that a bundle knows: a table of embeddings that regions are held against.

A table is one ``.npz`` file: the words with their synonyms as JSON, and one row of numbers a word,
made at export, in half precision. What a region's embedding and a row have in common is a logit.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from samedge.bundle.bundle import Bundle
from samedge.errors import BundleError
from samedge.files.reading import read_bytes
from samedge.types import Array

FILE_NAME = "words.npz"
MOST_WORDS, MOST_NUMBERS = 65_536, 1 << 26
"""A table with more rows, or more numbers in all, is refused before memory is taken."""

_DETERMINERS = frozenset(
    ["a", "an", "the", "some", "any", "all", "every", "each", "this", "that", "these", "those"]
)


def normalised(text: str) -> str:
    """A name or phrase without capitals, articles and punctuation: how names are looked up."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("'s ", " ")
    tokens = re.findall(r"\w+", plain.replace("_", " "))
    while len(tokens) > 1 and tokens[0] in _DETERMINERS:
        tokens.pop(0)
    return " ".join(tokens)


class Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One word of a table.

    Attributes:
        name: in the singular, lower case.
        synonyms: other names of the same thing.
        is_background: whether other words have to beat it.
        is_askable: whether a prompt may name it; what is no thing, such as sky, may not.
        off: why it is not answered although it is known; ``None`` where it is.
    """

    name: str
    synonyms: list[str] = []
    is_background: bool = True
    is_askable: bool = True
    off: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Its name and synonyms as they are looked up, each once."""
        found = map(normalised, (self.name, *self.synonyms))
        return tuple(dict.fromkeys(key for key in found if key))


def ambiguous(words: Iterable[Word]) -> list[str]:
    """Names, as they are looked up, that stand for more than one word; sorted."""
    counts = Counter(key for word in words for key in word.keys)
    return sorted(key for key, count in counts.items() if count > 1)


@dataclasses.dataclass(frozen=True, eq=False)
class WordTable:
    """Words and their embeddings.

    Attributes:
        words: W of them.
        embeddings: (W, D) float32, one row a word.

    Raises:
        BundleError: rows and words do not fit each other, a name stands for two words, or a number
            is none.
    """

    words: tuple[Word, ...]
    embeddings: Array

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise BundleError(f"The table of words {problem}: export the words again.")

    def _problem(self) -> str | None:
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self.words):
            return f"has {len(self.words)} words and rows of shape {self.embeddings.shape}"
        if not np.isfinite(self.embeddings).all():
            return "holds NaN or infinity"
        if not any(word.is_askable for word in self.words):
            return "has no word that can be asked for"
        if len(self.words) > MOST_WORDS:
            return f"has {len(self.words)} words, more than {MOST_WORDS}"
        twice = ambiguous(self.words)
        return f"has {twice[0]!r} twice" if twice else None

    @functools.cached_property
    def rows(self) -> Mapping[str, int]:
        """Row of every name and synonym that can be asked for, by its :func:`normalised` form."""
        return {
            key: row for row, word in enumerate(self.words) if word.is_askable for key in word.keys
        }

    @functools.cached_property
    def joined_rows(self) -> Mapping[str, int]:
        """The same by names without their spaces: hotdog, teddybear."""
        return {name.replace(" ", ""): row for name, row in self.rows.items()}

    @property
    def askable(self) -> tuple[int, ...]:
        """Rows of the words that can be asked for and are answered."""
        return tuple(
            row for row, word in enumerate(self.words) if word.is_askable and word.off is None
        )

    @functools.cached_property
    def background(self) -> Array:
        """(W,) bool: the words that others have to beat."""
        return np.array([word.is_background for word in self.words], np.bool_)

    def to_bytes(self) -> bytes:
        """The content of the file; rows are stored in half precision."""
        stream = io.BytesIO()
        text = np.frombuffer(msgspec.json.encode(self.words), np.uint8)
        np.savez_compressed(stream, words=text, embeddings=self.embeddings.astype(np.float16))
        return stream.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> WordTable:
        """Read a table.

        Raises:
            BundleError: it is none, or larger than any table.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as content:
                _check_size(content.zip.infolist())
                words = msgspec.json.decode(content["words"].tobytes(), type=tuple[Word, ...])
                rows = content["embeddings"].astype(np.float32)
        except BundleError:
            raise
        except Exception as error:
            raise BundleError(
                f"The table of words cannot be read ({error}): export the words again."
            ) from error
        return WordTable(words, rows)


def _check_size(members: list[zipfile.ZipInfo]) -> None:
    """Refuse a file that unpacks to more than a table can have."""
    size = sum(member.file_size for member in members)
    if size > 2 * MOST_NUMBERS:
        raise BundleError(
            f"The table of words unpacks to {size} bytes, expected at most {2 * MOST_NUMBERS}: do "
            "not trust this bundle."
        )


def read_table(bundle: Bundle) -> WordTable | None:
    """The words of an opened bundle; ``None`` where it knows none.

    Raises:
        BundleError: the file changed, or is no table.
    """
    words = bundle.manifest.own_words
    if words is None:
        return None
    path = bundle.file(words.table)
    return WordTable.from_bytes(
        read_bytes(path, limit="document_bytes", expected="a table", error=BundleError)
    )
