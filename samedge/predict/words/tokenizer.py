"""CLIP's byte-pair encoding: text to the ids that a text encoder reads.

After "Learning Transferable Visual Models From Natural Language Supervision" (Radford et al., 2021)
and its code. Texts are cleaned as its tokenizer does, by HTML's entities, white space, the forms of
quotes, ligatures and full-width letters, and lower case. Only text that was decoded wrongly
somewhere before (``Ã©`` for ``é``) is not mended, as the reference tries to.
"""

from __future__ import annotations

import functools
import gzip
import html
import io
import itertools
import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from samedge.errors import BundleError, PromptError
from samedge.types import Array

CONTEXT = 77
"""Ids of one text, the first and the last mark included."""
_MERGES = 49_152 - 256 - 2
_MOST_BYTES = 1 << 24
_END = "</w>"
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_MARKS = ("<start_of_text>", "<end_of_text>")
_TERMINAL = re.compile("\033\\[((?:\\d|;)*)([a-zA-Z])")
_C1 = re.compile("[\x80-\x9f]")
_SINGLE, _DOUBLE = re.compile("[\u02bc\u2018-\u201b]"), re.compile("[\u201c-\u201f]")
_LINE_ENDS = re.compile("\r\n|[\r\u2028\u2029\x85]")
_JOINED = "ĲĳŉǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬅﬆ"
_APART = "IJ ij ʼn DZ Dz dz DŽ Dž dž LJ Lj lj NJ Nj nj ff fi fl ffi ffl ſt st"
_LIGATURES = dict(zip(map(ord, _JOINED), _APART.split(), strict=True))
_DROPPED = dict.fromkeys(
    (
        *range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F,
        *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD),
    )
)  # fmt: skip


class Tokenizer:
    """Text to ids.

    Args:
        merges: pairs of symbols, the likeliest first.

    Attributes:
        start, end: ids of the marks around a text.
    """

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        letters = list(_byte_letters().values())
        symbols = [*letters, *(letter + _END for letter in letters), *map("".join, merges)]
        symbols += _MARKS
        self._ids = {symbol: index for index, symbol in enumerate(symbols)}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.start, self.end = (self._ids[mark] for mark in _MARKS)
        self._word_ids = functools.lru_cache(maxsize=4096)(self._merged)

    @staticmethod
    def from_bytes(data: bytes) -> Tokenizer:
        """Read a list of merges, as open_clip ships it, compressed or plain.

        Raises:
            BundleError: it is none.
        """
        try:
            lines = _text(data).split("\n")[1 : _MERGES + 1]
            pairs = [tuple(line.split()) for line in lines]
        except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
            raise BundleError(
                f"The tokenizer's merges cannot be read ({error}): export the bundle again."
            ) from error
        merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
        if len(merges) != _MERGES:
            raise BundleError(
                f"The tokenizer's merges have {len(merges)} pairs, expected {_MERGES}: give "
                "bpe_simple_vocab_16e6.txt.gz of the package open_clip_torch, or CLIP's merges.txt."
            )
        return Tokenizer(merges)

    def encode(self, text: str) -> Array:
        """Ids of a text between its marks, filled with zeros.

        Returns:
            (77,) int32.

        Raises:
            PromptError: the text is longer; nothing is cut off.
        """
        ids = self.ids(text)
        if len(ids) > CONTEXT - 2:
            raise PromptError(
                f"The text has {len(ids)} tokens, expected at most {CONTEXT - 2}: shorten it."
            )
        out = np.zeros(CONTEXT, np.int32)
        out[: len(ids) + 2] = [self.start, *ids, self.end]
        return out

    def ids(self, text: str) -> list[int]:
        """Ids of a text without marks, as many as it has."""
        found: list[int] = []
        for word in _words(cleaned(text)):
            found += [self._ids[word]] if word in _MARKS else self._word_ids(word)
        return found

    def _merged(self, word: str) -> tuple[int, ...]:
        letters = _byte_letters()
        parts = [letters[byte] for byte in word.encode("utf-8")]
        parts[-1] += _END
        while len(parts) > 1:
            pairs = list(itertools.pairwise(parts))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            parts = _joined(parts, best)
        return tuple(self._ids[part] for part in parts)


def cleaned(text: str) -> str:
    """A text as CLIP's tokenizer sees it."""
    text = _TERMINAL.sub("", html.unescape(text) if "<" not in text else text)
    text = _C1.sub(_windows_letter, text).translate(_LIGATURES)
    text = "".join(map(_usual_width, text))
    text = _DOUBLE.sub('"', _SINGLE.sub("'", text))
    text = _LINE_ENDS.sub("\n", text)
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").translate(_DROPPED)
    text = unicodedata.normalize("NFC", text)
    text = html.unescape(html.unescape(text))
    return " ".join(text.split()).lower()


def _usual_width(letter: str) -> str:
    """A half- or full-width letter in its usual width."""
    if letter == "\u3000":
        return " "
    return unicodedata.normalize("NFKC", letter) if "\uff01" <= letter <= "\uffef" else letter


def _windows_letter(match: re.Match[str]) -> str:
    try:
        return match.group().encode("latin-1").decode("windows-1252")
    except UnicodeDecodeError:
        return match.group()


def _words(text: str) -> Iterator[str]:
    """Contractions, runs of letters, single digits, and runs of anything else but white space."""
    at = 0
    while at < len(text):
        special = next((s for s in (*_MARKS, *_CONTRACTIONS) if text.startswith(s, at)), None)
        if special is not None:
            yield special
            at += len(special)
            continue
        kind, stop = _kind(text[at]), at + 1
        while kind in ("L", "-") and stop < len(text) and _kind(text[stop]) == kind:
            stop += 1
        if kind != " ":
            yield text[at:stop]
        at = stop


@functools.lru_cache(maxsize=4096)
def _kind(letter: str) -> str:
    """``L`` letter, ``N`` digit, a space, or ``-`` for anything else."""
    if letter.isspace():
        return " "
    category = unicodedata.category(letter)[0]
    return category if category in "LN" else "-"


def _joined(parts: Sequence[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(parts):
        if tuple(parts[at : at + 2]) == pair:
            out.append(pair[0] + pair[1])
            at += 2
        else:
            out.append(parts[at])
            at += 1
    return out


@functools.cache
def _byte_letters() -> Mapping[int, str]:
    """A printable letter for every byte, in the order of their ids."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {byte: chr(byte) for byte in plain}
    return letters | {byte: chr(256 + index) for index, byte in enumerate(others)}


def _text(data: bytes) -> str:
    if not data.startswith(b"\x1f\x8b"):
        return data.decode("utf-8")
    with gzip.open(io.BytesIO(data)) as stream:
        return stream.read(_MOST_BYTES).decode("utf-8")
