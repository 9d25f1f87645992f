from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.bundle.bundle import Bundle
from samedge.cli._segment import _said
from samedge.pixels import rle
from samedge.predict.everything import EverythingConfig
from samedge.predict.words.answers import WordAnswer
from samedge.predict.words.choosing import proposing
from tests.cli.conftest import invoke
from tests.predict.words.test_finding import COLOURS, PLACES, REGIONS, SIZE
from tests.toys.words import proposals_of, write_words_bundle

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "toy"
    write_words_bundle(path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    image = np.full((*SIZE, 3), 128, np.uint8)
    for name in ("red", "green"):
        x0, y0, x1, y1 = PLACES[name]
        image[y0:y1, x0:x1] = COLOURS[name]
    path = tmp_path / "picture.png"
    Image.fromarray(image).save(path)
    return path


@pytest.fixture(autouse=True)
def _three_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything mode finds the three places; it has tests of its own."""
    own = proposals_of(REGIONS)
    monkeypatch.setattr("samedge.predict.words.files.segment_everything", lambda *a, **o: REGIONS)
    monkeypatch.setattr("samedge.predict.everything.proposals", lambda *a, **o: own)


def _document(*arguments: object) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_segment_finds_words(bundle: Path, picture: Path) -> None:
    found = _document("segment", picture, "--bundle", bundle, "--text", "crimson, limes")
    assert [mask["category"] for mask in found["masks"]] == ["red", "green"]
    drawn: dict[str, Any] = {"points": [], "labels": [], "box_xyxy": None, "mask": False}
    assert [mask["prompt"] for mask in found["masks"]] == [
        {"index": 0, **drawn, "text": "crimson"},
        {"index": 1, **drawn, "text": "limes"},
    ]
    assert all(0.5 < mask["word_score"] <= 1 for mask in found["masks"])
    assert [word["found"] for word in found["words"]] == [1, 1]
    apart = {"preprocess", "encode", "decode", "postprocess"}  # promised, and not measured here
    assert {stage for stage, value in found["timing_ms"].items() if value is None} == apart
    assert found["timing_ms"]["propose"] > 0


def test_words_are_found_with_the_least_area(
    bundle: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[EverythingConfig] = []

    def proposed(*arguments: Any, config: EverythingConfig, **others: Any) -> Any:
        configs.append(config)
        return proposals_of(REGIONS)

    monkeypatch.setattr("samedge.predict.everything.proposals", proposed)
    _document("segment", picture, "--bundle", bundle, "--text", "red", "--min-area", "9")
    own = proposing(Bundle.open(bundle).manifest)  # as Python's find, and no closer
    assert configs == [dataclasses.replace(own, min_area=9)]


def test_an_absent_thing_is_no_error(bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", SIZE[::-1], (128, 128, 128)).save(tmp_path / "grey.png")
    found = _document("segment", tmp_path / "grey.png", "--bundle", bundle, "--text", "red")
    assert found["masks"] == []
    assert found["words"][0]["best_score"] < 0.5


def test_words_write_coco_with_their_names(bundle: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    invoke("segment", picture, "--bundle", bundle, "--text", "red", "--text", "green", "-o", out)
    document = json.loads(out.read_text())
    assert {category["name"] for category in document["categories"]} >= {"red", "green"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--text", "the largest red"], 1, "'largest' says more than what a thing is"),
        (["--text", "gren"], 1, "'green'"),
        (["--text", "blue"], 1, "off in this model"),
        (["--text", "red", "--point", "1,1"], 2, "Words go alone"),
        (["--text", "red", "--multimask"], 2, "--text takes no --multimask"),
        (["--text", "red", "--mask-value", "1"], 2, "--text takes no --mask-value"),
        (["--point", "1,1", "--score", "0.5"], 2, "--score is of words"),
    ],
)
def test_what_is_not_understood(
    bundle: Path, picture: Path, arguments: list[str], code: int, message: str
) -> None:
    result = invoke("segment", picture, "--bundle", bundle, *arguments)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())


def test_everything_names_regions(bundle: Path, picture: Path) -> None:
    found = _document("everything", picture, "--bundle", bundle, "--label")
    assert [mask.get("category") for mask in found["masks"]] == ["red", "green", None]


def test_everything_names_regions_by_tiles(
    bundle: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samedge.predict.words.files.masks_of", lambda *a, **o: REGIONS)
    out = picture.with_name("found.json")
    given = ("everything", picture, "--bundle", bundle, "--label", "--tiles", "64", "-o", out)
    whole = _document("everything", picture, "--bundle", bundle, "--label")
    found = _document(*given)
    assert found["masks"] == whole["masks"]
    assert found["timing_ms"]["score"] > 0
    names = {entry["id"]: entry["name"] for entry in json.loads(out.read_text())["categories"]}
    assert sorted(names.values()) == ["green", "object", "red"]


def test_words_are_measured_alone(bundle: Path, truth: Path) -> None:
    arguments = ("--dataset", truth, "--images", truth.parent, "--prompts", "box,text")
    result = invoke("eval", *arguments, "--bundle", bundle)
    assert result.exit_code == 2
    assert "text in a run of its own" in " ".join(result.stderr.split())


def test_inspect_lists_words(bundle: Path) -> None:
    result = invoke("inspect", bundle)
    assert "red, green" in result.stdout
    assert "blue" in result.stdout


@pytest.fixture
def truth(picture: Path, tmp_path: Path) -> Path:
    """The picture's two things, the first by a synonym."""
    pytest.importorskip("pycocotools")
    masks = {"red": REGIONS[0].mask, "green": REGIONS[1].mask}
    document = {
        "images": [{"id": 1, "file_name": picture.name, "height": SIZE[0], "width": SIZE[1]}],
        "categories": [
            {"id": i, "name": name} for i, name in enumerate(("crimson", "green", "blue"))
        ],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": i, "segmentation": rle.rle_from_mask(mask)}
            for i, mask in enumerate(masks.values())
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps(document))
    return tmp_path / "truth.json"


def test_eval_asks_words(bundle: Path, truth: Path, tmp_path: Path) -> None:
    found = _document(
        *("eval", "--dataset", truth, "--images", truth.parent, "--focus", "auto"),
        *("--bundle", bundle, "--prompts", "text", "-o", tmp_path / "record.json"),
    )
    rows = {(row["regions"], row["words_by"]): row for row in found["words"]}
    assert rows["everything", "model"]["miou"] == pytest.approx(1.0)
    assert rows["everything", "model"]["false_alarms"] == 0.0
    assert rows["everything", "model"]["top1"] == 1.0
    assert rows["everything", "truth"]["miou"] == pytest.approx(1.0)
    assert {row["focus"] for row in rows.values()} == {"auto"}
    assert (tmp_path / "record.json").is_file()


def test_eval_lists_images_that_it_cannot_read(bundle: Path, truth: Path) -> None:
    document = json.loads(truth.read_text())
    document["images"].append({**document["images"][0], "id": 2, "file_name": "bad.png"})
    document["annotations"].append({**document["annotations"][0], "id": 9, "image_id": 2})
    truth.write_text(json.dumps(document))
    (truth.parent / "bad.png").write_bytes(b"no picture")
    result = invoke(
        *("eval", "--dataset", truth, "--images", truth.parent, "--bundle", bundle),
        *("--prompts", "text", "--json"),
    )
    assert result.exit_code == 1
    dataset = json.loads(result.stdout)["dataset"]
    assert (dataset["images"], dataset["instances"], set(dataset["failed"])) == (1, 2, {"bad.png"})
    assert "bad.png" in result.stderr


@pytest.mark.parametrize(
    ("found", "best", "said"),
    [
        (0, 0.2399, "cat: 0 found, best score 0.24 (take it all the same: --score 0.23)"),
        (0, 0.049, "cat: 0 found, best score 0.05"),
        (2, 0.9, "cat: 2 found, best score 0.90"),
        (0, None, "cat: 0 found, best score none"),
    ],
)
def test_a_word_that_finds_nothing_says_how_it_would(
    found: int, best: float | None, said: str
) -> None:
    answer = WordAnswer(asked="cats", word="cat", found=found, best_score=best)
    assert _said(answer) == said
