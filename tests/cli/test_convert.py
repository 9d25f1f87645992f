"""``samedge convert``: between all formats, with what is lost said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge import formats
from samedge.errors import DatasetError
from samedge.formats.base import Layout
from samedge.formats.convert import convert
from samedge.formats.destination import Destination
from samedge.formats.masks import ImageMasks
from tests.cli.conftest import invoke
from tests.formats.pictures import HEIGHT, SHAPES, WIDTH, image

READ = [name for name in formats.names() if formats.get(name).is_read]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("cam1/0001.png", "cam2/0001.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), "red").save(folder / name)
    return folder


def target(name: str, stem: str) -> Path:
    file_format = formats.get(name)
    return Path(stem + (file_format.endings[0] if file_format.layout is Layout.ONE_FILE else ""))


def write(name: str, path: Path, *images: ImageMasks) -> Path:
    with Destination(path, name, images=len(images)).open() as writer:
        for entry in images:
            writer.add(entry)
    return path


@pytest.mark.parametrize("source", READ)
@pytest.mark.parametrize("goal", formats.names())
def test_every_pair(source: str, goal: str, photos: Path) -> None:
    images = (image("disc", "pixel"), image("line", name="cam2/0001.png"))
    path = write(source, target(source, "in"), *images)
    made = convert(
        path,
        target(goal, "out"),
        source_format=source,
        target_format=goal,
        images=photos,
    )
    assert (made.images, made.masks) == (2, 3)
    assert made.files
    assert all(file.is_file() for file in made.files)
    if goal in READ and goal != "yolo":
        again = convert(
            target(goal, "out"),
            Path("again.json"),
            source_format=goal,
            target_format="coco",
            images=photos,
        )
        areas = [a["area"] for a in json.loads(Path("again.json").read_text())["annotations"]]
        assert sorted(areas) == sorted(int(SHAPES[s].sum()) for s in ("disc", "pixel", "line"))
        assert again.left_out == {}


def test_document_says_what_is_lost(photos: Path) -> None:
    path = write("coco", Path("in.json"), image("ring", "disc", "parts"))
    result = invoke("convert", path, "davis", "--to", "davis", "--json")
    assert result.exit_code == 0, result.stderr
    found: Any = json.loads(result.stdout)
    assert found["schema"] == "samedge.convert/1"
    assert found["source"] == {"path": "in.json", "format": "coco"}
    assert found["target"] == {"path": "davis", "format": "davis"}
    assert found["lost"] == {
        "categories": 3,
        "predicted IoU or scores": 3,
        "stability scores": 3,
        "masks that overlap others": 3,
    }
    assert sum(found["changed"].values()) == 2
    text = invoke("convert", path, "davis", "--to", "davis").stdout
    assert "3 masks of 1 images, coco to davis: wrote davis" in text
    assert "lost, as davis has no place for it: 3 categories" in text


@pytest.mark.parametrize("name", ["png", "davis", "voc"])
def test_an_ending_that_a_format_has_no_place_for_is_said_and_found_again(
    name: str, photos: Path
) -> None:
    (photos / "cam1" / "0001.png").rename(photos / "cam1" / "0001.jpg")
    path = write("coco", Path("in.json"), image("disc", name="cam1/0001.jpg"))
    made = convert(path, Path("out"), target_format=name)
    assert made.lost["endings of image names, which become .png"] == 1
    for images, ending in ((None, ".png"), (photos, ".jpg")):
        convert(Path("out"), Path("back.json"), source_format=name, images=images)
        (entry,) = json.loads(Path("back.json").read_text())["images"]
        assert entry["file_name"] == f"cam1/0001{ending}"


@pytest.mark.parametrize("name", ["yolo", "davis", "voc"])
def test_two_images_that_would_be_one_file_are_refused(name: str) -> None:
    images = (image("disc", name="a.jpg"), image("line", name="A.png"))
    path = write("coco", Path("in.json"), *images)
    with pytest.raises(DatasetError, match="differ in their endings only"):
        convert(path, Path("out"), target_format=name)


def test_nothing_lost_is_said_by_nothing(photos: Path) -> None:
    path = write("coco", Path("in.json"), image("ring"))
    found = json.loads(invoke("convert", path, "out.json", "--json").stdout)
    assert (found["lost"], found["changed"], found["left_out"]) == ({}, {}, {})


def test_odd_entries_are_counted_and_the_rest_converted() -> None:
    path = write("sam", Path("in.json"), image("ring", "disc"))
    document = json.loads(path.read_text())
    document["annotations"][0]["segmentation"]["counts"] = "??"
    document["annotations"].append({"segmentation": 3})
    path.write_text(json.dumps(document))
    found = json.loads(invoke("convert", path, "out.xml", "--json").stdout)
    assert found["masks"] == 1
    assert sum(found["left_out"].values()) == 2


def test_a_drawing_lies_on_the_photo(photos: Path) -> None:
    path = write("coco", Path("in.json"), image("pixel"))
    options = ("--to", "overlay", "--images", photos)
    assert invoke("convert", path, "drawn", *options).exit_code == 0
    drawn = np.asarray(Image.open("drawn/cam1/0001_overlay.png"))
    assert drawn[-1, -1].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["in.json", "in.json"], 1, "is read, and would be lost"),
        (["absent.json", "x.json"], 1, "There is nothing at absent.json"),
        (["in.json", "x.gif"], 1, "Unknown ending of an annotation file '.gif'"),
        (["in.json", "folder"], 1, "folder has no ending, which would say the format: name one"),
        (["in.json", "x.png", "--to", "coco"], 1, "coco results go to .json"),
        (["photos", "x.json"], 1, "looks like no format"),
        (["in.json", "x.json", "--to", "yolo"], 1, "yolo results are a folder: leave its ending"),
        (["in.json", "x", "--to", "gif"], 1, "Unknown format 'gif'"),
        (["in.json", "x.json", "--from", "overlay"], 1, "a picture for people"),
        (["in.json", "x", "--to", "yolo", "--images", "nowhere"], 1, "is not a folder"),
        (["two.json", "x.svg"], 1, "one file for the svg results of several images"),
    ],
)
def test_mistakes(arguments: list[str], code: int, words: str, photos: Path) -> None:
    write("coco", Path("in.json"), image("disc"))
    write("coco", Path("two.json"), image("disc"), image("disc", name="b.png"))
    result = invoke("convert", *arguments, "--json")
    assert result.exit_code == code
    assert words in json.loads(result.stdout)["message"]


def test_yolo_needs_the_images(photos: Path) -> None:
    write("yolo", Path("labels"), image("disc"))
    result = invoke("convert", "labels", "x.json")
    assert result.exit_code == 1
    assert "name the folder of the images (--images)" in result.stderr
    assert invoke("convert", "labels", "x.json", "--images", photos).exit_code == 0
