"""What became of each word that was asked for."""

from __future__ import annotations

import msgspec


class WordAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one word.

    Attributes:
        asked: as it was given.
        word: the bundle's name of it, or the phrase.
        found: regions of it.
        best_score: of the best candidate, found or not; ``None`` where the image had no region.
    """

    asked: str
    word: str
    found: int
    best_score: float | None
