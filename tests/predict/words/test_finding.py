from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from samedge.errors import BundleError, OptionError, PromptError
from samedge.pixels import metrics, rle
from samedge.predict.everything import AutomaticMask, EverythingConfig
from samedge.predict.predictor import Predictor
from samedge.predict.words.choosing import close_rows, kept_rows, proposing, without_parts
from samedge.predict.words.files import drawn_prompts
from samedge.predict.words.finding import find, named
from samedge.predict.words.predictor import load_default
from samedge.predict.words.regions import RegionScorer, log_sum_exp
from samedge.types import Array, Prompt
from tests.toys.words import write_words_bundle

pytest.importorskip("onnxruntime")

SIZE = (60, 90)
COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}
PLACES = {"red": (5, 5, 25, 25), "green": (40, 10, 60, 40), "blue": (65, 30, 85, 55)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "toy"
    write_words_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Iterator[Predictor]:
    with Predictor.from_bundle(bundle) as opened:
        yield opened


def _picture(*shown: str) -> Array:
    image = np.full((*SIZE, 3), 128, np.uint8)
    for name in shown:
        x0, y0, x1, y1 = PLACES[name]
        image[y0:y1, x0:x1] = COLOURS[name]
    return image


def _region(box: tuple[int, int, int, int]) -> AutomaticMask:
    x0, y0, x1, y1 = box
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    assert metrics.bounding_box(mask) == box
    area = int(mask.sum())
    return AutomaticMask(rle.rle_from_mask(mask), box, area, 0.9, 0.9, (x0, y0), (0, 0, 90, 60))


REGIONS = [_region(box) for box in PLACES.values()]


def test_a_word_gives_its_regions_and_no_others(predictor: Predictor) -> None:
    image = _picture("red", "green")
    found = find(predictor, "red", image=image, proposals=REGIONS)
    assert [region.word for region in found.regions] == ["red"]
    assert found.regions[0].region is REGIONS[0]
    assert 0.5 < found.regions[0].score < 1
    assert found.candidates == 3


def test_several_words_in_one_call_keep_their_own_names(predictor: Predictor) -> None:
    image = _picture("red", "green")
    found = find(predictor, ["a Crimson, limes"], image=image, proposals=REGIONS)
    assert {region.word for region in found.regions} == {"red", "green"}
    assert [(a.asked, a.word, a.found) for a in found.words] == [
        ("a Crimson", "red", 1),
        ("limes", "green", 1),
    ]


def test_an_absent_thing_gives_nothing_and_the_best_score(predictor: Predictor) -> None:
    found = find(predictor, "red", image=_picture("green"), proposals=REGIONS)
    assert found.regions == ()
    (answer,) = found.words
    assert answer.found == 0
    assert answer.best_score is not None
    assert answer.best_score < 0.5


def test_without_any_region_there_is_no_score(predictor: Predictor) -> None:
    found = find(predictor, "red", image=_picture(), proposals=[])
    assert found.words[0].best_score is None


def test_a_lower_threshold_finds_what_the_usual_one_leaves(predictor: Predictor) -> None:
    image = _picture("red")
    image[5:25, 5:25] = (138, 120, 120)  # a weak red
    usual = find(predictor, "red", image=image, proposals=REGIONS)
    score = usual.words[0].best_score
    assert score is not None
    assert not usual.regions
    lower = find(predictor, "red", image=image, proposals=REGIONS, threshold=0.9 * score)
    assert lower.regions[0].region is REGIONS[0]


@pytest.mark.parametrize("threshold", [0.0, 1.0, float("nan"), "0.5"])
def test_a_threshold_is_a_score(predictor: Predictor, threshold: Any) -> None:
    with pytest.raises(OptionError, match="between 0 and 1"):
        find(predictor, "red", image=_picture(), proposals=[], threshold=threshold)


def test_names_that_nobody_asked_for_have_a_threshold_of_their_own(tmp_path: Path) -> None:
    image = _picture("red")
    image[5:25, 5:25] = (200, 60, 60)
    best = []
    for cut in (None, 3.0, 30.0):
        more: dict[str, Any] = {} if cut is None else {"label_threshold": cut}
        write_words_bundle(tmp_path / str(cut), **more)
        with Predictor.from_bundle(tmp_path / str(cut)) as opened:
            found = find(opened, "red", image=image, proposals=REGIONS)
            assert [region.word for region in found.regions] == ["red"]
            best.append(named(opened, image, regions=REGIONS)[0])
    assert [one.word if one is not None else None for one in best] == ["red", "red", None]
    assert best[0] is not None
    assert 3 < best[0].margin < 30


def test_of_two_like_regions_the_better_stays(predictor: Predictor) -> None:
    loose = _region((5, 5, 25, 28))
    found = find(predictor, "red", image=_picture("red"), proposals=[loose, REGIONS[0]])
    assert [region.region for region in found.regions] == [REGIONS[0]]


def test_kept_rows_are_the_best_of_their_place() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [40, 0, 50, 10]], float)
    margins = np.array([1.0, 3.0, 2.0, -1.0])
    assert kept_rows(margins, boxes, cut=0.0, suppression=0.5) == [1, 2]
    assert kept_rows(margins, boxes, cut=2.5, suppression=0.5) == [1]
    assert kept_rows(margins, boxes, cut=0.0, suppression=0.95) == [1, 2]  # 0 is far below


def _shape(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def test_parts_go_where_the_whole_is_there_and_stay_where_it_is_not() -> None:
    body, head, other = _shape((10, 0, 30, 60)), _shape((15, 0, 25, 12)), _shape((60, 5, 70, 50))
    masks = [body, head, other]
    assert without_parts([0, 1, 2], masks.__getitem__) == [0, 2]
    assert without_parts([1, 0, 2], masks.__getitem__) == [1, 0, 2]  # the part is the better one
    assert without_parts([], masks.__getitem__) == []
    twice = [body, body]  # suppression's to decide
    assert without_parts([0, 1], twice.__getitem__) == [0, 1]


def test_of_a_group_the_members_stay() -> None:
    group = _shape((10, 10, 30, 40), (31, 10, 50, 40))
    left, right, hat = _shape((10, 10, 30, 40)), _shape((31, 10, 50, 40)), _shape((12, 10, 20, 14))
    masks = [group, left, right, hat]
    assert without_parts([0, 1, 2], masks.__getitem__) == [1, 2]
    assert without_parts([0, 1], masks.__getitem__) == [0]  # one of two is a part
    assert without_parts([0, 3, 1], masks.__getitem__) == [0]  # two parts that do not fill it


def test_proposals_for_words_look_less_closely(predictor: Predictor) -> None:
    assert proposing(predictor.manifest).crop_layers == 0  # the toy's own
    with load_default() as opened:
        manifest = opened.manifest
    assert manifest.thresholds.own_everything.closer_layers == 1
    assert manifest.thresholds.own_everything.points_per_side == 16
    own = proposing(manifest).rules(manifest)
    assert (own.crop_layers, own.closer_layers, own.points_per_side) == (1, 0, 12)
    assert (own.crop_nms_threshold, own.soft_nms_sigma) == (own.box_nms_threshold, 0)
    everything = msgspec.structs.replace(manifest.thresholds.own_everything, crop_layers=3)
    thresholds = msgspec.structs.replace(manifest.thresholds, everything=everything)
    closer = msgspec.structs.replace(manifest, thresholds=thresholds)
    assert proposing(closer).crop_layers == 1
    assert EverythingConfig(crop_layers=2).rules(manifest).closer_layers == 0


def test_what_is_given_stays_and_the_rest_is_that_of_words() -> None:
    with load_default() as opened:
        manifest = opened.manifest
    mended = proposing(manifest, EverythingConfig(min_area=30))
    assert mended == dataclasses.replace(proposing(manifest), min_area=30)
    given = EverythingConfig(points_per_side=5, crop_layers=2, closer_layers=1, points_per_batch=2)
    kept = proposing(manifest, given)
    assert (kept.points_per_side, kept.crop_layers, kept.closer_layers) == (5, 2, 1)
    assert kept.points_per_batch == 2
    assert kept.soft_nms_sigma == 0


def test_close_rows_are_those_that_may_be_kept() -> None:
    margins = np.array([1.0, 0.0, -0.4, -0.6, -1.1, -5.0])
    assert close_rows(margins, cut=0.0).tolist() == [0, 1, 2]
    assert close_rows(margins, cut=-3.0).tolist() == [0, 1, 2, 3]  # the best one is at 1
    assert close_rows(np.zeros(0), cut=0.0).tolist() == []
    assert close_rows(np.full(2, -np.inf), cut=0.0).tolist() == []


def test_find_leaves_parts_out(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    margins = np.array([[-9.0], [3.0], [-9.0], [2.0]], np.float32)
    monkeypatch.setattr(RegionScorer, "margins", lambda *args: margins)
    proposals = [*REGIONS, _region((42, 12, 58, 30))]
    found = find(predictor, "green", image=_picture("green"), proposals=proposals)
    assert [region.region for region in found.regions] == [REGIONS[1]]


def test_a_word_that_is_off_says_why(predictor: Predictor) -> None:
    with pytest.raises(PromptError, match="off in this model: it is never right"):
        find(predictor, "blue", image=_picture("blue"), proposals=REGIONS)


def test_regions_are_named_where_a_word_is_clear(predictor: Predictor) -> None:
    words = named(predictor, _picture("red"), regions=REGIONS)
    assert [word and word.word for word in words] == ["red", None, None]


def test_regions_are_named_by_tables_longer_than_a_text(tmp_path: Path) -> None:
    write_words_bundle(tmp_path / "large", more=70)
    with Predictor.from_bundle(tmp_path / "large") as opened:
        words = named(opened, _picture("red"), regions=REGIONS)
    assert [word and word.word for word in words] == ["red", None, None]


def test_margins_are_log_odds_against_the_other_words(predictor: Predictor) -> None:
    scorer = RegionScorer(predictor.graphs)
    wrongs: tuple[Any, ...] = (5, None, {"red"}, [5])
    for wrong in wrongs:
        with pytest.raises(PromptError, match="expected text, or a list of it"):
            scorer.asked(wrong)
    (asked,) = scorer.asked("red")
    # 20 red - 10 green - 10 blue and so on; grey is 2.5.
    embeddings = np.array([[0.5, 0.4, 0.3, 1.0]], np.float32)
    red, green, blue = 10 - 4 - 3, -5 + 8 - 3, -5 - 4 + 6
    expected = red - np.log(np.exp([green, blue, 2.5]).sum())
    assert scorer.margins(embeddings, [asked])[0, 0] == pytest.approx(expected, abs=1e-4)
    assert log_sum_exp(np.zeros((2, 0), np.float32)).tolist() == [-100.0, -100.0]


def test_fixed_batches_are_filled_and_cut(predictor: Predictor, tmp_path: Path) -> None:
    write_words_bundle(tmp_path / "fixed", batch=2)
    image = _picture("red", "green", "blue")
    masks = [region.mask for region in REGIONS]
    with Predictor.from_bundle(tmp_path / "fixed") as other:
        fixed = RegionScorer(other.graphs).embed(image, masks)
    usual = RegionScorer(predictor.graphs).embed(image, masks)
    assert fixed.shape == (3, 4)
    np.testing.assert_allclose(fixed, usual, atol=1e-6)


def test_words_become_masks_for_whoever_follows(predictor: Predictor) -> None:
    box = Prompt(box=[1, 1, 20, 20])
    image = _picture("red")
    prompts = drawn_prompts(predictor, image, prompts=[box])
    assert prompts == [box]
    with pytest.raises(PromptError, match=r"shows nothing of that.*'green'"):
        drawn_prompts(predictor, _picture(), prompts=[Prompt(text="green")])


def test_a_word_without_a_thing_beside_others_is_told(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("samedge.predict.words.finding.proposed_regions", lambda *a, **o: REGIONS)
    prompts = drawn_prompts(predictor, _picture("red"), prompts=[Prompt(text="red, green")])
    assert len(prompts) == 1
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert re.search(r"nothing of some words .*'green' 0\.\d\d", record.getMessage())
    assert "'red'" not in record.getMessage()


def test_a_bundle_without_words_says_how_to_get_them(toy_bundle: Path) -> None:
    with (
        Predictor.from_bundle(toy_bundle) as other,
        pytest.raises(PromptError, match="--words samedge-words"),
    ):
        find(other, "red", image=_picture(), proposals=[])


def test_words_need_the_picture(predictor: Predictor) -> None:
    embedding = predictor.encode(_picture())
    with pytest.raises(PromptError, match="need the picture"):
        predictor.decode(embedding, Prompt(text="red"))


def test_a_changed_table_is_noticed(tmp_path: Path) -> None:
    write_words_bundle(tmp_path / "bundle")
    with Predictor.from_bundle(tmp_path / "bundle") as opened:
        scorer = RegionScorer(opened.graphs)
        (tmp_path / "bundle" / "words.npz").write_bytes(b"other")
        with pytest.raises(BundleError, match="changed since"):
            _ = scorer.table
