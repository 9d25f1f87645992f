"""The words protocol on cases that paper and pencil can do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import DatasetError
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.words import absent_words, evaluate_words, labelled
from samedge.evaluation.words_subject import PredictorWords
from samedge.pixels import rle
from samedge.predict.everything import AutomaticMask, Proposals
from samedge.predict.predictor import Predictor
from samedge.records import Subject, WordRow
from samedge.types import Array
from tests.predict.words.test_finding import REGIONS
from tests.toys.words import proposals_of, write_words_bundle

SIZE = (40, 60)
IDENTITY = Subject(bundle="toy", backend="hand", device="cpu")
CATEGORIES = {1: "dog", 2: "cat", 3: "cup", 4: "car"}


def _box(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


# Two dogs and a cup; a cat and a crowd of cups.
OBJECTS = [
    (1, 1, _box(0, 0, 10, 10), 0),
    (1, 1, _box(20, 0, 10, 10), 0),
    (1, 3, _box(40, 20, 5, 10), 0),
    (2, 2, _box(10, 10, 20, 20), 0),
    (2, 3, _box(0, 30, 20, 10), 1),
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    images = [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in (1, 2)]
    for image in images:
        Image.fromarray(np.full((*SIZE, 3), image["id"], np.uint8)).save(
            tmp_path / str(image["file_name"])
        )
    annotations = [
        {
            "id": index,
            "image_id": image,
            "category_id": category,
            "iscrowd": crowd,
            "segmentation": rle.rle_from_mask(mask),
        }
        for index, (image, category, mask, crowd) in enumerate(OBJECTS)
    ]
    categories = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
    document = {"images": images, "annotations": annotations, "categories": categories}
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    return path


class Hand:
    """Answers what a test tells it; the image's brightness says which image it is."""

    def __init__(
        self,
        regions: dict[int, list[np.ndarray]],
        found: dict[tuple[int, str], list[int]],
        names: dict[int, list[str]],
        off: str = "",
    ) -> None:
        self._regions, self._found, self._names, self._off = regions, found, names, off

    def off(self, word: str) -> str | None:
        return "it is off" if word == self._off else None

    def own_name(self, word: str) -> str:
        return {"cup": "mug"}.get(word, word)

    def regions(self, image: Array) -> Sequence[np.ndarray]:
        return self._regions[int(image[0, 0, 0])]

    def find(
        self, image: Array, regions: Sequence[np.ndarray], *, words: Sequence[str]
    ) -> list[list[np.ndarray]]:
        assert self._off not in words
        asked = [self._found.get((int(image[0, 0, 0]), word), []) for word in words]
        return [[regions[index] for index in found if index < len(regions)] for found in asked]

    def drawn(self, regions: Sequence[np.ndarray], places: Sequence[int]) -> list[np.ndarray]:
        return [regions[place] for place in places]

    def name(self, image: Array, regions: Sequence[np.ndarray]) -> list[str]:
        return self._names[int(image[0, 0, 0])]


def _rows(dataset: Path, hand: Hand) -> dict[tuple[str, str], WordRow]:
    truth = load_ground_truth(dataset, dataset.parent)
    rows, _ = evaluate_words(hand, truth, identity=IDENTITY)
    return {(row.regions, row.words_by): row for row in rows}


def _hand(**changes: Any) -> Hand:
    fields: dict[str, Any] = {
        # The first region is both dogs' place and as much beside it; the second is the cup.
        "regions": {1: [_box(0, 0, 40, 10), _box(40, 20, 5, 10)], 2: [_box(10, 10, 20, 20)]},
        "found": {(1, "dog"): [0], (1, "cup"): [1], (2, "cat"): [0]},
        "names": {1: ["dog", "cat", "mug"], 2: ["cat"]},
    }
    return Hand(**{**fields, **changes})


def test_unions_are_compared(dataset: Path) -> None:
    row = _rows(dataset, _hand())["everything", "model"]
    by_word = {score.word: score for score in row.by_word}
    assert by_word["dog"].miou == pytest.approx(200 / 400)
    assert by_word["cup"].miou == 1.0
    assert by_word["cat"].miou == 1.0
    assert row.pairs == 3
    assert row.miou == pytest.approx((0.5 + 1 + 1) / 3)


def test_as_many_absent_words_are_asked_as_there_are_present_ones(dataset: Path) -> None:
    entries = {e.image.name: e for e in labelled(load_ground_truth(dataset, dataset.parent))}
    assert set(entries["1.png"].absent) == {"cat", "car"}
    assert len(entries["2.png"].absent) == 1
    assert entries["2.png"].absent[0] in ("dog", "car")  # a crowd of cups is there


def test_false_alarms_are_counted_among_absent_words(dataset: Path) -> None:
    quiet = _rows(dataset, _hand())["everything", "model"]
    assert (quiet.absent_pairs, quiet.false_alarms) == (3, 0.0)
    found = {(1, "car"): [1], (2, "dog"): [0], (2, "car"): [0]}
    loud = _rows(dataset, _hand(found=found))["everything", "model"]
    assert loud.false_alarms == pytest.approx(2 / 3)
    assert loud.miou == 0.0


def test_names_of_the_ground_truth_are_top_1(dataset: Path) -> None:
    row = _rows(dataset, _hand())["everything", "model"]
    assert row.instances == 4
    assert row.top1 == pytest.approx(3 / 4)
    assert row.chance == pytest.approx(2 / 4)
    by_word = {score.word: score for score in row.by_word}
    assert by_word["dog"].top1 == 0.5
    assert by_word["car"].top1 is None


def test_a_crowds_pixels_do_not_count(dataset: Path) -> None:
    # The ground truth's own region, and one inside of the crowd of cups beside it.
    regions = {1: [], 2: [_box(10, 10, 20, 20), _box(0, 30, 20, 10)]}
    found = {(2, "cat"): [0, 1]}
    row = _rows(dataset, _hand(regions=regions, found=found))["everything", "model"]
    by_word = {score.word: score for score in row.by_word}
    assert by_word["cat"].miou == pytest.approx(400 / 600)  # for cats the crowd of cups counts


def test_all_crowds_of_a_word_are_left_out(dataset: Path) -> None:
    document = json.loads(dataset.read_text())
    crowds = [_box(0, 20, 20, 10), _box(40, 30, 20, 10)]
    document["annotations"] += [
        {
            "id": 10 + index,
            "image_id": 1,
            "category_id": 3,
            "iscrowd": 1,
            "segmentation": rle.rle_from_mask(mask),
        }
        for index, mask in enumerate(crowds)
    ]
    dataset.write_text(json.dumps(document))
    regions = {1: [_box(40, 20, 5, 10), *crowds], 2: []}
    row = _rows(dataset, _hand(regions=regions, found={(1, "cup"): [0, 1, 2]}))
    by_word = {score.word: score for score in row["everything", "model"].by_word}
    assert by_word["cup"].miou == 1.0


def test_an_image_that_cannot_be_read_does_not_count(dataset: Path) -> None:
    (dataset.parent / "2.png").write_bytes(b"no picture")
    truth = load_ground_truth(dataset, dataset.parent)
    rows, record = evaluate_words(_hand(), truth, identity=IDENTITY, focus="auto")
    assert (record.images, record.instances, set(record.failed)) == (1, 3, {"2.png"})
    assert [(row.images, row.focus) for row in rows] == [(1, "auto")] * 3


def test_a_missing_file_is_found_before_any_work(dataset: Path) -> None:
    (dataset.parent / "2.png").unlink()
    truth = load_ground_truth(dataset, dataset.parent)
    with pytest.raises(DatasetError, match=r"names image '2\.png'"):
        evaluate_words(Hand({}, {}, {}), truth, identity=IDENTITY)


def test_a_bundle_is_asked_any_number_of_words(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_words_bundle(tmp_path / "large", more=70)
    image = np.full((*SIZE, 3), 128, np.uint8)
    image[:10, :10] = (250, 10, 10)
    words = [*(f"word{index}" for index in range(70)), "red"]
    with Predictor.from_bundle(tmp_path / "large") as opened:
        subject = PredictorWords(opened)
        box = _box(0, 0, 10, 10)
        found = subject.find(image, [box], words=words)
        assert [subject.own_name(word) for word in ("Crimson", "limes", "yak")] == [
            *("red", "green"),
            "yak",
        ]
    assert found[:-1] == [[] for _ in range(70)]
    assert [mask.tolist() for mask in found[-1]] == [box.tolist()]


def test_the_oracle_of_names_shows_what_the_regions_allow(dataset: Path) -> None:
    # One dog's own region, and one that covers less than half of the cat.
    regions = {1: [_box(0, 0, 10, 10)], 2: [_box(10, 10, 20, 9)]}
    rows = _rows(dataset, _hand(regions=regions, found={}))
    row = rows["everything", "truth"]
    by_word = {score.word: score for score in row.by_word}
    assert by_word["dog"].miou == 0.5
    assert by_word["cup"].miou == 0.0
    assert by_word["cat"].miou == 0.0
    assert row.false_alarms is None


def test_the_oracle_of_regions_shows_what_the_names_allow(dataset: Path) -> None:
    found = {(1, "dog"): [0, 1], (1, "cup"): [2]}
    row = _rows(dataset, _hand(regions={1: [], 2: []}, found=found))["truth", "model"]
    by_word = {score.word: score for score in row.by_word}
    assert by_word["dog"].miou == 1.0
    assert by_word["cup"].miou == 1.0
    assert by_word["cat"].miou == 0.0


def test_a_word_that_is_off_finds_nothing(dataset: Path) -> None:
    row = _rows(dataset, _hand(off="dog"))["everything", "model"]
    by_word = {score.word: score for score in row.by_word}
    assert by_word["dog"].miou == 0.0
    assert by_word["dog"].off == "it is off"


def test_absent_words_are_the_same_in_every_run() -> None:
    known = [f"w{i}" for i in range(50)]
    first = absent_words(["w1", "w2"], known, seed="a", count=5)
    assert first == absent_words(["w2", "w1"], known, seed="a", count=5)
    assert first != absent_words(["w1", "w2"], known, seed="b", count=5)
    assert not {"w1", "w2"} & set(first)
    assert len(absent_words(known[:49], known, seed="a", count=5)) == 1


def test_objects_need_a_category(dataset: Path) -> None:
    document = json.loads(dataset.read_text())
    document["categories"] = document["categories"][1:]
    dataset.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="category 1, which `categories`"):
        list(labelled(load_ground_truth(dataset, dataset.parent)))


def test_an_own_region_counts_as_it_is_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    write_words_bundle(tmp_path / "toy")
    image = np.full((60, 90, 3), 128, np.uint8)
    image[5:25, 5:25] = (250, 10, 10)
    line = np.eye(60, 90, dtype=bool)
    again = {0: dataclasses.replace(REGIONS[1], rle=rle.rle_from_mask(line))}
    asked: list[int] = []

    def drawn_again(self: Proposals, places: Sequence[int]) -> dict[int, AutomaticMask]:
        asked.extend(places)
        return {place: again[place] for place in places if place in again}

    monkeypatch.setattr(Proposals, "drawn_again", drawn_again)
    monkeypatch.setattr(
        "samedge.predict.everything.proposals", lambda *a, **o: proposals_of(REGIONS)
    )
    with Predictor.from_bundle(tmp_path / "toy") as opened:
        subject = PredictorWords(opened)
        regions = subject.regions(image)
        assert [mask.sum() for mask in regions[:2]] == [one.area for one in REGIONS[:2]]
        (drawn,) = subject.drawn(regions, [0, 1])  # the other one came back as another thing
        assert np.array_equal(drawn, line)
        given = [regions[0]]
        assert subject.drawn(given, [0]) == given
        again.clear()
        asked.clear()
        assert subject.find(image, regions, words=["red"]) == [[]]
        assert asked[0] == 0
        asked.clear()
        assert len(subject.find(image, given, words=["red"])[0]) == 1
        assert not asked
