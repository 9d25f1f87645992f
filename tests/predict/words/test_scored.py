"""Regions that a word may name are drawn again, and the others are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from samedge.pixels import rle
from samedge.predict.everything import AutomaticMask, EverythingConfig, Proposals
from samedge.predict.everything_masks import Drawn
from samedge.predict.predictor import Predictor
from samedge.predict.words.choosing import MOST_REGIONS, proposing
from samedge.predict.words.finding import find, proposed_regions
from samedge.predict.words.regions import RegionScorer
from samedge.predict.words.scored import ScoredRegions
from samedge.types import Array
from tests.toys.words import write_words_bundle

pytest.importorskip("onnxruntime")

SIZE = (60, 90)
IMAGE = np.full((*SIZE, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    folder: Path = tmp_path_factory.mktemp("words") / "toy"
    write_words_bundle(folder)
    with Predictor.from_bundle(folder) as opened:
        yield opened


def _region(left: int, *, iou: float = 0.9) -> AutomaticMask:
    mask = np.zeros(SIZE, bool)
    mask[5:25, left : left + 9] = True
    box = (left, 5, left + 9, 25)
    return AutomaticMask(rle.rle_from_mask(mask), box, 180, iou, 0.9, (left, 5), (0, 0, 90, 60))


class Told(Proposals):
    """Regions that are drawn again as a test says: ``None`` comes back as another thing."""

    def __init__(self, regions: Sequence[AutomaticMask], again: dict[int, AutomaticMask | None]):
        cells = np.zeros(1, np.bool_)
        found = [Drawn(one, cells, (0, row)) for row, one in enumerate(regions)]
        super().__init__([], found, again=None, closer=None)
        self.again = again
        self.asked: list[list[int]] = []

    def drawn_again(self, places: Iterable[int]) -> dict[int, AutomaticMask]:
        self.asked.append(list(places))
        made = {place: self.again.get(place, self[place]) for place in self.asked[-1]}
        return {place: one for place, one in made.items() if one is not None}

    def looked_closer(self, masks: Sequence[AutomaticMask]) -> list[AutomaticMask]:
        return [dataclasses.replace(mask, focus=(0, 0, 9, 9)) for mask in masks]


def _scored(
    predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
    regions: Proposals,
    margins: dict[float, tuple[float, float]],
) -> ScoredRegions[AutomaticMask]:
    """Regions whose margins of two words go by the left edge of their boxes."""

    def embed(self: RegionScorer, image: Array, masks: Sequence[Array]) -> Array:
        edges = [np.flatnonzero(mask.any(axis=0))[0] for mask in masks]
        return np.array(edges, np.float32).reshape(-1, 1)

    def told(self: RegionScorer, embeddings: Array, asked: Sequence[object]) -> Array:
        rows = [margins[float(one)] for one in embeddings[:, 0]]
        return np.array(rows, np.float32).reshape(-1, 2)

    monkeypatch.setattr(RegionScorer, "embed", embed)
    monkeypatch.setattr(RegionScorer, "margins", told)
    scorer = RegionScorer(predictor.graphs)
    words = [*scorer.asked("red"), *scorer.asked("green")]
    return ScoredRegions(scorer, IMAGE, regions=regions, words=words)


def test_only_what_a_word_may_name_is_drawn_again_and_scored_anew(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = {0: _region(11), 1: _region(31), 2: None}
    regions = Told([_region(left) for left in (10, 30, 50, 70)], again)
    margins = {10.0: (1.0, -9.0), 30.0: (-0.3, -9.0), 50.0: (0.9, -9.0), 70.0: (-2.0, -9.0)}
    margins |= {11.0: (0.8, -9.0), 31.0: (0.2, -9.0)}
    scored = _scored(predictor, monkeypatch, regions, margins)
    red, green = scored.named(cut=0.0)
    assert regions.asked[0] == [0, 1, 2]  # at once; the last is too far below
    assert not any(regions.asked[1:])
    assert [one.box for one in red.regions] == [again[0].box, again[1].box]  # type: ignore[union-attr]
    assert red.margins == pytest.approx([0.8, 0.2])
    assert red.best == pytest.approx(0.8)
    assert {one.focus for one in red.regions} == {(0, 0, 9, 9)}  # the found alone look closer
    assert (green.regions, green.best) == ([], -9.0)


def test_what_becomes_the_best_region_only_then_is_drawn_again_too(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions = Told([_region(10), _region(30)], {0: None, 1: _region(31)})
    margins = {10.0: (5.0, -9.0), 30.0: (1.0, -9.0), 31.0: (2.0, -9.0)}
    red, _ = _scored(predictor, monkeypatch, regions, margins).named(cut=0.0)
    assert [drawn for drawn in regions.asked if drawn] == [[0], [1]]
    assert red.margins == [2.0]
    nothing = Told([_region(10)], {0: None})
    red, _ = _scored(predictor, monkeypatch, nothing, margins).named(cut=0.0)
    assert (red.regions, red.best) == ([], None)


def test_words_do_not_influence_one_another(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions = Told([_region(10), _region(30)], {0: _region(11)})
    margins = {10.0: (1.0, -2.0), 30.0: (-9.0, 1.0), 11.0: (1.0, 4.0)}
    red, green = _scored(predictor, monkeypatch, regions, margins).named(cut=0.0)
    assert red.margins == [1.0]
    assert green.margins == [1.0]  # not the 4 of a region that was drawn again for another word


def test_the_best_ranked_are_held_against_words(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = Told([_region(10, iou=1 - 0.001 * row) for row in range(MOST_REGIONS + 3)], {})
    monkeypatch.setattr("samedge.predict.everything.proposals", lambda *a, **o: many)
    regions = proposed_regions(predictor, IMAGE)
    assert len(regions) == MOST_REGIONS
    assert regions[0] is many[0]
    assert [one.predicted_iou for one in regions[-2:]] == [
        one.predicted_iou for one in many[MOST_REGIONS - 2 : MOST_REGIONS]
    ]


def test_find_proposes_as_words_do_and_takes_settings(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def proposed(*args: object, config: EverythingConfig, **options: object) -> Proposals:
        seen.append(config)
        return Told([_region(10)], {})

    monkeypatch.setattr("samedge.predict.everything.proposals", proposed)
    found = find(predictor, "red", image=IMAGE, config=EverythingConfig(min_area=20))
    assert found.candidates == 1
    expected = proposing(predictor.manifest)
    assert seen == [dataclasses.replace(expected, min_area=20)]


def test_a_score_that_is_told_finds_the_region_as_a_threshold(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions = Told([_region(10), _region(30)], {0: _region(11)})
    margins = {10.0: (-4.0, -9.0), 30.0: (-4.5, -9.0), 11.0: (-5.0, -9.0)}
    scored = _scored(predictor, monkeypatch, regions, margins)
    red, _ = scored.named(cut=0.0)
    assert (red.regions, red.best) == ([], -4.5)  # both were drawn again, and the first is worse
    red, _ = scored.named(cut=-4.6)
    assert red.margins == [-4.5]
