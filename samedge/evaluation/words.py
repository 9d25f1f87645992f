"""How well words are found, by the protocol of docs/accuracy-protocol.md.

For every image and every word that it shows: the union of the masks that are returned against the
union of the word's masks. For as many words that it does not show: whether anything is returned.
Two oracles say what limits the figure: regions from the ground truth, and names from it.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from samedge.errors import DatasetError
from samedge.evaluation.ground_truth import GroundTruth, TruthImage
from samedge.evaluation.reading import Readings
from samedge.pixels import metrics
from samedge.records import DatasetRecord, Subject, subject_fields
from samedge.records.words import WordRow, WordScore
from samedge.types import Array, Progress, Stage, Steps

Mask = npt.NDArray[np.bool_]
SEED = 0
NAMED_FROM = 0.5
"""IoU with an object from which on the oracle of names gives a region the object's word."""


class WordSubject(Protocol):
    """What can be evaluated; regions are masks in the image's frame."""

    def off(self, word: str) -> str | None:
        """Why a word is not answered; ``None`` where it is."""

    def own_name(self, word: str) -> str:
        """The model's own name of what a word means; the word itself where it knows none."""

    def regions(self, image: Array) -> Sequence[Mask]:
        """What the model itself proposes, (H, W) bool each."""

    def find(
        self, image: Array, regions: Sequence[Mask], *, words: Sequence[str]
    ) -> list[list[Mask]]:
        """The regions that each word names, as they are returned."""

    def drawn(self, regions: Sequence[Mask], places: Sequence[int]) -> list[Mask]:
        """Some of the regions as they would be returned; none that would not be."""

    def name(self, image: Array, regions: Sequence[Mask]) -> list[str]:
        """The likeliest of all words for each region, whatever its score."""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image and what it shows.

    Attributes:
        image: its file and annotations.
        masks: of its objects.
        words: of its objects.
        crowds: masks of crowds by word, whose pixels do not count.
        absent: words to ask that it does not show.
    """

    image: TruthImage
    masks: tuple[Mask, ...]
    words: tuple[str, ...]
    crowds: Mapping[str, Mask]
    absent: tuple[str, ...]

    @functools.cached_property
    def present(self) -> tuple[str, ...]:
        """Words that it shows, each once."""
        return tuple(dict.fromkeys(self.words))

    def union(self, word: str) -> Mask:
        """Where a word is."""
        found = np.zeros(self.image.size, np.bool_)
        for mask, name in zip(self.masks, self.words, strict=True):
            if name == word:
                found |= mask
        return found


@dataclasses.dataclass(frozen=True)
class PairScore:
    """One word asked of one image.

    Attributes:
        image: its name.
        word: asked.
        iou: of the unions; ``None`` where the image does not show it.
        alarm: whether something was found.
    """

    image: str
    word: str
    iou: float | None
    alarm: bool


@dataclasses.dataclass(frozen=True)
class NameScore:
    """One object, and whether the model named it rightly."""

    image: str
    word: str
    right: bool


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Who proposes and who names."""

    regions: str
    words_by: str


KINDS = (
    _Kind("everything", "model"),
    _Kind("truth", "model"),
    _Kind("everything", "truth"),
)


@dataclasses.dataclass(frozen=True)
class ImageScores:
    """What became of one image.

    Attributes:
        image: its name.
        pairs: the words asked of it, a list a kind of :data:`KINDS`.
        names: its objects, named by the model.
    """

    image: str
    pairs: tuple[list[PairScore], ...]
    names: list[NameScore]


def absent_words(
    present: Sequence[str], known: Sequence[str], *, seed: str, count: int
) -> tuple[str, ...]:
    """Words to ask that an image does not show, as many as it shows, the same in every run.

    Args:
        present: what it shows, crowds included.
        known: every word of the dataset.
        seed: the image's name.
        count: how many.
    """
    others = sorted(set(known) - set(present))
    return tuple(random.Random(f"{SEED}/{seed}").sample(others, min(count, len(others))))


def labelled(truth: GroundTruth) -> Iterator[LabelledImage]:
    """Every image of a dataset with its words.

    Args:
        truth: opened; its categories are the words.

    Raises:
        DatasetError: an object has no category.
    """
    known = tuple(truth.categories.values())
    for image in truth.images:
        masks = tuple(instance.mask for instance in image.instances())
        words = tuple(_word(truth, a.id, a.category_id) for a in image.annotations)
        crowds: dict[str, Mask] = {}
        for annotation, mask in image.crowds():
            word = _word(truth, annotation.id, annotation.category_id)
            crowds[word] = crowds[word] | mask if word in crowds else mask
        shown = list(dict.fromkeys((*words, *crowds)))
        absent = absent_words(shown, known, seed=image.name, count=len(set(words)))
        yield LabelledImage(image, masks, words, crowds, absent)


def _word(truth: GroundTruth, annotation: int, category: int | None) -> str:
    if category is None or category not in truth.categories:
        raise DatasetError(
            f"{truth.path}: annotation {annotation} has category {category}, which `categories` "
            "does not name: words need the names."
        )
    return truth.categories[category]


def evaluate_words(
    subject: WordSubject,
    truth: GroundTruth,
    *,
    identity: Subject,
    focus: str = "never",
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> tuple[list[WordRow], DatasetRecord]:
    """Score a subject and its two oracles.

    An image that cannot be read is left out and named in the dataset's record.

    Args:
        subject: what is evaluated.
        truth: opened ground truth with categories.
        identity: that the figures are filed under.
        focus: when the subject looks again at small regions; the rows say it.
        progress: hears of every image.
        stage: is told how it goes.

    Returns:
        One row a kind, of :data:`KINDS`, and what it was measured on.

    Raises:
        DatasetError: an object without a category, an image's file is missing, or none of the
            images can be read.
    """
    started, readings = time.perf_counter(), Readings(truth)
    scores: list[ImageScores] = []
    steps = Steps(len(truth.images), progress=progress, stage=stage)
    for entry in labelled(truth):
        pixels = readings.pixels(entry.image)
        if pixels is not None:
            scores.append(score_image(subject, entry, pixels=pixels))
        steps.step(_remark(scores))
    dataset, seconds = readings.record(), round(time.perf_counter() - started, 3)
    return word_rows(scores, subject, identity=identity, focus=focus, seconds=seconds), dataset


def score_image(subject: WordSubject, entry: LabelledImage, *, pixels: Array) -> ImageScores:
    """Ask a subject, and its two oracles, about one image.

    Args:
        subject: what is evaluated.
        entry: the image and what it shows.
        pixels: (H, W, 3) uint8 RGB.
    """
    regions = subject.regions(pixels)
    pairs = (
        _asked(subject, entry, pixels, regions),
        _asked(subject, entry, pixels, entry.masks),
        _oracle(subject, entry, regions),
    )
    return ImageScores(entry.image.name, pairs, _named(subject, entry, pixels))


def word_rows(
    scores: Sequence[ImageScores],
    subject: WordSubject,
    *,
    identity: Subject,
    focus: str,
    seconds: float,
) -> list[WordRow]:
    """The figures of some images' scores, one row a kind of :data:`KINDS`.

    Args:
        scores: of every image that could be read.
        subject: what was evaluated.
        identity: that the figures are filed under.
        focus: when it looked again at small regions.
        seconds: that it took.
    """
    names = [name for score in scores for name in score.names]
    rows = []
    for index, kind in enumerate(KINDS):
        pairs = [pair for score in scores for pair in score.pairs[index]]
        row = _row(identity, kind, pairs, names, subject)
        rows.append(msgspec.structs.replace(row, focus=focus, seconds=seconds))
    return rows


def _remark(scores: Sequence[ImageScores]) -> str:
    ious = [pair.iou for score in scores for pair in score.pairs[0] if pair.iou is not None]
    return f"mIoU {np.mean(ious):.3f}" if ious else ""


def _named(subject: WordSubject, entry: LabelledImage, pixels: Array) -> list[NameScore]:
    given = subject.name(pixels, entry.masks)
    return [
        NameScore(entry.image.name, word, subject.own_name(word) == name)
        for word, name in zip(entry.words, given, strict=True)
    ]


def _asked(
    subject: WordSubject, entry: LabelledImage, pixels: Array, regions: Sequence[Mask]
) -> list[PairScore]:
    """The subject's own answers, to words that are there and words that are not."""
    words = [w for w in (*entry.present, *entry.absent) if subject.off(w) is None]
    found = dict(zip(words, subject.find(pixels, regions, words=words), strict=True))
    scores = []
    for word in (*entry.present, *entry.absent):
        chosen = found.get(word, [])
        iou = union_iou(entry, word, regions=chosen) if word in entry.present else None
        scores.append(PairScore(entry.image.name, word, iou, bool(chosen)))
    return scores


def _oracle(subject: WordSubject, entry: LabelledImage, regions: Sequence[Mask]) -> list[PairScore]:
    """The best that the regions allow: each gets the word of the object that it covers."""
    places: dict[str, list[int]] = collections.defaultdict(list)
    for place, region in enumerate(regions):
        ious = [metrics.mask_iou(mask, region) for mask in entry.masks]
        best = int(np.argmax(ious)) if ious else 0
        if ious and ious[best] >= NAMED_FROM:
            places[entry.words[best]].append(place)
    chosen = {word: subject.drawn(regions, places[word]) for word in entry.present}
    return [
        PairScore(
            entry.image.name, word, union_iou(entry, word, regions=chosen[word]), bool(chosen[word])
        )
        for word in entry.present
    ]


def union_iou(entry: LabelledImage, word: str, *, regions: Sequence[Mask]) -> float:
    """IoU of the union of some regions and that of a word's masks, crowds of it left out."""
    wanted, given = entry.union(word), np.zeros(entry.image.size, np.bool_)
    for region in regions:
        given |= region
    crowd = entry.crowds.get(word)
    if crowd is not None:
        wanted, given = wanted & ~crowd, given & ~crowd
    return metrics.mask_iou(wanted, given)


def _row(
    identity: Subject,
    kind: _Kind,
    pairs: Sequence[PairScore],
    names: Sequence[NameScore],
    subject: WordSubject,
) -> WordRow:
    present = [(score.iou, score.image) for score in pairs if score.iou is not None]
    absent = [score.alarm for score in pairs if score.iou is None]
    right, images = [float(n.right) for n in names], [n.image for n in names]
    ious, where = [iou for iou, _ in present], [image for _, image in present]
    counts = collections.Counter(name.word for name in names)
    return WordRow(
        **subject_fields(identity),
        regions=kind.regions,
        words_by=kind.words_by,
        images=len({score.image for score in pairs}),
        pairs=len(present),
        miou=_mean(ious),
        ci95=metrics.bootstrap_mean(ious, where) if ious else None,
        absent_pairs=len(absent),
        false_alarms=_mean(absent) if kind.words_by == "model" else None,
        instances=len(names),
        top1=_mean(right),
        top1_ci95=metrics.bootstrap_mean(right, images) if right else None,
        chance=max(counts.values()) / len(names) if names else None,
        by_word=list(_by_word(pairs, names, subject)),
    )


def _by_word(
    pairs: Sequence[PairScore], names: Sequence[NameScore], subject: WordSubject
) -> Iterator[WordScore]:
    for word in sorted({score.word for score in pairs} | {name.word for name in names}):
        right = [name.right for name in names if name.word == word]
        own = [score for score in pairs if score.word == word]
        ious = [score.iou for score in own if score.iou is not None]
        alarms = [score.alarm for score in own if score.iou is None]
        yield WordScore(
            word=word,
            instances=len(right),
            top1=_mean(right),
            present=len(ious),
            miou=_mean(ious),
            absent=len(alarms),
            false_alarms=_mean(alarms),
            off=subject.off(word),
        )


def _mean(values: Sequence[float] | Sequence[bool]) -> float | None:
    return float(np.mean(values)) if len(values) else None
