"""How well words are found."""

from __future__ import annotations

import msgspec

from samedge.records.subjects import Subject


class WordScore(msgspec.Struct, frozen=True, kw_only=True):
    """One word's figures.

    Attributes:
        word: as the dataset names it.
        instances: its ground-truth masks.
        top1: share of them that the model names so; ``None`` without any.
        present: images that show it.
        miou: mean IoU of the unions over those images.
        absent: images without it that were asked.
        false_alarms: share of those in which something was found.
        off: why the model does not answer it.
    """

    word: str
    instances: int
    top1: float | None
    present: int
    miou: float | None
    absent: int
    false_alarms: float | None
    off: str | None = None


class WordRow(Subject, frozen=True, kw_only=True):
    """How well one subject finds words, by the protocol of docs/accuracy-protocol.md.

    Attributes:
        regions: who proposed the regions: ``everything``, or ``truth``, the oracle.
        words_by: who named them: ``model``, or ``truth``, the oracle.
        images: that were looked at.
        pairs: of an image and a word that it shows.
        miou: mean over those pairs.
        ci95: bootstrap interval of ``miou`` over images.
        absent_pairs: of an image and a word that it does not show.
        false_alarms: share of those in which something was found; ``None`` where truth names.
        instances: ground-truth masks.
        top1: share of them that the model names rightly.
        top1_ci95: bootstrap interval of ``top1`` over images.
        chance: share of the most frequent word among them.
        by_word: each word's own figures.
        seconds: for all of it.
        focus: when small regions were drawn again from a closer look.
    """

    regions: str
    words_by: str
    images: int
    pairs: int
    miou: float | None
    ci95: tuple[float, float] | None
    absent_pairs: int
    false_alarms: float | None
    instances: int
    top1: float | None
    top1_ci95: tuple[float, float] | None
    chance: float | None
    by_word: list[WordScore] = []
    seconds: float | None = None
    focus: str = "never"
