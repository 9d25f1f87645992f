"""``eval`` with images that are missing, damaged or of another size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samedge.pixels.rle import rle_from_mask
from samedge.records import DatasetRecord
from tests.cli.conftest import invoke

SIDE = 40
ARGUMENTS = ("eval", "--dataset", "x.json", "--images", "photos", "--prompts", "box")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photos with a square each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:30, 10:30] = True
    images, annotations = [], []
    for number in range(1, 5):
        Image.fromarray(mask.astype(np.uint8) * 200).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": SIDE, "width": SIDE})
        annotations.append({"id": number, "image_id": number, "segmentation": rle_from_mask(mask)})
    document = {"images": images, "annotations": annotations}
    (tmp_path / "x.json").write_text(json.dumps(document))
    return folder


def test_a_bad_image_is_left_out_and_named(toy_bundle: Path, photos: Path) -> None:
    (photos / "2.png").write_bytes((photos / "2.png").read_bytes()[:60])
    Image.new("L", (SIDE + 1, SIDE)).save(photos / "3.png")
    common = (*ARGUMENTS, "--bundle", toy_bundle, "-o", "record.json")
    result = invoke(*common, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["schema"] == "samedge.eval/1"
    assert document["dataset"]["images"] == document["dataset"]["instances"] == 2
    assert document["results"][0]["n"] == 2
    failed = document["dataset"]["failed"]
    assert set(failed) == {"2.png", "3.png"}
    assert "the masks would not fit it" in failed["3.png"]
    failures = {one["image"]: one["error"] for one in document["dataset"]["failures"]}
    assert {name: error["message"] for name, error in failures.items()} == failed
    assert all(error["remedy"] and error["exit_code"] == 1 for error in failures.values())
    assert json.loads(Path("record.json").read_text())["results"] == document["results"]
    lines = [line for line in result.stderr.splitlines() if line.startswith("samedge: ")]
    assert len(lines) == 2
    assert "2.png" in lines[0]


@pytest.mark.parametrize("prompts", ["box", "text"])
def test_forgotten_pictures_are_told_of(
    prompts: str, toy_bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samedge.cli.eval_words._measured", _measured_nothing)
    common = (*ARGUMENTS[:-1], prompts, "--bundle", toy_bundle)
    assert "does not name" not in invoke(*common).stdout
    assert "skipped_files" not in json.loads(invoke(*common, "--json").stdout)
    Image.new("L", (SIDE, SIDE)).save(photos / "9.png")
    (photos / "read me.txt").write_text("not asked about")
    assert "1 (9.png): pictures that x.json does not name" in invoke(*common).stdout
    found = json.loads(invoke(*common, "--json", "--limit", 1).stdout)["skipped_files"]
    assert [(one["count"], one["names"]) for one in found] == [(1, ["9.png"])]
    for number in range(10, 15):
        Image.new("L", (SIDE, SIDE)).save(photos / f"{number}.png")
    lines = invoke(*common).stdout.splitlines()
    assert "6 pictures that x.json does not name (they are not measured)" in lines  # of a subset


def _measured_nothing(*_: object) -> tuple[list[object], DatasetRecord]:
    return [], DatasetRecord(path="x.json", images=0, instances=0)


def test_the_rest_counts_as_it_does_alone(toy_bundle: Path, photos: Path) -> None:
    common = (*ARGUMENTS, "--bundle", toy_bundle, "--json")
    whole = json.loads(invoke(*common).stdout)["results"][0]
    (photos / "4.png").write_bytes(b"no picture")
    less = json.loads(invoke(*common).stdout)["results"][0]
    assert (whole["n"], less["n"]) == (4, 3)
    assert less["miou"] == pytest.approx(whole["miou"])  # the photos are all the same


def test_a_missing_file_is_found_before_any_work(photos: Path) -> None:
    (photos / "4.png").unlink()
    result = invoke(*ARGUMENTS, "--bundle", "baseline:box", "-o", "record.json", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["schema"], found["kind"]) == ("samedge.error/1", "dataset")
    assert "names image '4.png', but there is no photos/4.png" in found["message"]
    assert not Path("record.json").exists()


def test_nothing_readable_is_an_error(photos: Path) -> None:
    for photo in photos.iterdir():
        photo.write_bytes(b"no picture")
    result = invoke(*ARGUMENTS, "--bundle", "baseline:box", "--json")
    assert result.exit_code == 1
    assert "No image of x.json can be read" in json.loads(result.stdout)["message"]


def test_figures_of_a_second_look_have_a_name_of_their_own(toy_bundle: Path, photos: Path) -> None:
    common = ("eval", "--dataset", "x.json", "--images", "photos", "--bundle", toy_bundle, "--json")
    document = json.loads(invoke(*common, "--prompts", "box,clicks:2", "--focus", "auto").stdout)
    names = [row["prompt"] for row in document["results"]]
    assert names == ["box+focus", "clicks:2+focus"]
    assert {example["prompt"] for example in document["examples"]} == set(names)
    plain = json.loads(invoke(*common, "--prompts", "box").stdout)
    assert [row["prompt"] for row in plain["results"]] == ["box"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--refine", "1"], ["box+refined", "center"]),
        (["--refine", "2"], ["box+refined:2", "center"]),
        (["--refine", "0"], ["box", "center"]),
        (["--refine", "1", "--focus", "auto"], ["box+focus", "center+focus"]),
        (["--refine", "0", "--focus", "auto"], ["box+focus+refined:0", "center+focus"]),
    ],
)
def test_figures_of_boxes_that_are_asked_again_have_a_name_of_their_own(
    toy_bundle: Path, photos: Path, options: list[str], names: list[str]
) -> None:
    common = ("eval", "--dataset", "x.json", "--images", "photos", "--bundle", toy_bundle, "--json")
    document = json.loads(invoke(*common, "--prompts", "box,center", *options).stdout)
    assert [row["prompt"] for row in document["results"]] == names


def test_everything_is_measured_beside_prompts(toy_bundle: Path, photos: Path) -> None:
    common = ("eval", "--dataset", "x.json", "--images", "photos", "--bundle", toy_bundle)
    result = invoke(*common, "--prompts", "everything,box", "-o", "e.json", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    (row,) = document["everything"]
    assert (row["n"], row["images"]) == (4, 4)
    assert 0 <= row["ar_10"] <= row["ar_100"] <= row["ar_1000"] <= 1
    assert row["best_iou_by_size"]["large"] is None
    assert row["clicks_an_image"] > 0
    assert [one["prompt"] for one in document["results"]] == ["box"]
    assert row["focus"] == "never"
    alone_of_one = (*common, "--limit", "1", "--prompts", "everything")
    assert "AR@100" in invoke(*alone_of_one).stdout
    alone = invoke(*alone_of_one, "--focus", "always", "--json")
    assert [one["focus"] for one in json.loads(alone.stdout)["everything"]] == ["always"]
    report = invoke("report", "e.json", "--html", "r.html")
    assert report.exit_code == 0
    assert "Average recall" in Path("r.html").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--video", "DAVIS", "--focus", "auto"],
        ["--video", "DAVIS", "--range", "full"],
        ["--video", "DAVIS", "--instances"],
        ["--video", "DAVIS", "--dataset", "x.json"],
        ["--dataset", "x.json", "--images", "photos", "--ask-every", "2"],
        ["--prompts", "text", "--instances", "--dataset", "x.json", "--images", "photos"],
        ["--prompts", "text", "--refine", "1", "--dataset", "x.json", "--images", "photos"],
        ["--prompts", "center", "--refine", "1", "--dataset", "x.json", "--images", "photos"],
        ["--prompts", "box,everything", "--refine", "0", "--dataset", "x.json", "--images", "p"],
        ["--prompts", "everything", "--instances", "--dataset", "x.json", "--images", "photos"],
    ],
)
def test_options_that_would_be_lost_are_refused(arguments: list[str]) -> None:
    result = invoke("eval", *arguments)
    assert result.exit_code == 2
    assert "leave that out" in " ".join(result.stderr.split())


def test_an_unknown_protocol_is_named(toy_bundle: Path, photos: Path) -> None:
    common = ("eval", "--dataset", "x.json", "--images", "photos", "--bundle", toy_bundle)
    result = invoke(*common, "--prompts", "everything,boxes")
    assert result.exit_code == 1
    assert "boxes" in result.stderr
