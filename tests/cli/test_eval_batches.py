"""``eval`` with images that are missing, damaged or of another size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samedge.pixels.rle import rle_from_mask
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
    assert set(document["dataset"]["failed"]) == {"2.png", "3.png"}
    assert "the masks would not fit it" in document["dataset"]["failed"]["3.png"]
    assert json.loads(Path("record.json").read_text())["results"] == document["results"]
    lines = [line for line in result.stderr.splitlines() if line.startswith("samedge: ")]
    assert len(lines) == 2
    assert "2.png" in lines[0]


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
