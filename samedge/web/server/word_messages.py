"""The JSON about words, both ways."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from samedge._version import __version__
from samedge.files.lines import created_now
from samedge.web.server.messages import BundleMessage, Share

WORDS_SCHEMA = "samedge.serve.words/1"


class FindRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of things to find.

    Attributes:
        text: one or several, with commas between them.
        score: the lowest score; what is left out is as the model has it.
        low_res_logits: whether each mask comes with those that it was cut from.
    """

    text: Annotated[str, Meta(min_length=1, max_length=4096)]
    score: Share | None = None
    low_res_logits: bool = False


class KnownWord(msgspec.Struct, frozen=True, kw_only=True):
    """A word that may be asked for.

    Attributes:
        name: of the thing, in the singular.
        synonyms: other names that lead to it.
        off: why it is known and not answered; ``None`` where it is answered.
    """

    name: str
    synonyms: list[str]
    off: str | None


class WordsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The words that the model knows; none where it understands no words.

    Attributes:
        words: by their names.
        reads_phrases: whether other phrases are understood, too.
    """

    schema: str = WORDS_SCHEMA
    samedge_version: str = __version__
    created: str = msgspec.field(default_factory=created_now)
    bundle: BundleMessage
    words: list[KnownWord]
    reads_phrases: bool
