"""``samedge convert``: between all formats, with what is lost said."""

from __future__ import annotations

import json
import os
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
    made = convert(path, Path("out"), target_format=name)
    assert made.images == 1
    (unread,) = made.unread
    assert unread.name == "A.png"
    with pytest.raises(DatasetError, match="differ in their endings only"):
        raise unread.error


def damage(name: str, path: Path, photos: Path) -> None:
    """Damage the second image of three."""
    if name == "yolo":
        (photos / "b.png").unlink()
    elif name == "cvat":
        text = path.read_text()
        path.write_text(text.replace('name="b.png" width="64"', 'name="b.png" width="x"'))
    elif name == "label_studio":
        tasks = json.loads(path.read_text())
        tasks[1] = {"id": 7}
        path.write_text(json.dumps(tasks))
    else:
        found = [file for file in sorted(path.rglob("b*")) if file.is_file()]
        assert found
        for file in found:
            file.write_bytes(b"damaged")


@pytest.mark.parametrize("name", sorted({*READ} - {"coco", "coco_polygons"}))  # read strictly
def test_a_damaged_image_is_listed_and_the_others_are_converted(
    name: str, tmp_path: Path, photos: Path
) -> None:
    names = ("a.png", "b.png", "c.png")
    for one in names:
        Image.new("RGB", (WIDTH, HEIGHT)).save(photos / one)
    path = write(name, target(name, "in"), *(image("disc", name=one) for one in names))
    damage(name, path, photos)
    given = ("convert", path, "out.json", "--from", name, "--images", photos)
    result = invoke(*given, "--json")
    assert result.exit_code == 1, result.stderr
    found = json.loads(result.stdout)
    assert (found["schema"], found["images"], found["masks"]) == ("samedge.convert/1", 2, 2)
    written = [entry["file_name"] for entry in json.loads(Path("out.json").read_text())["images"]]
    assert written == ["a.png", "c.png"]
    (failure,) = found["failures"]
    assert failure["error"]["kind"] in ("dataset", "image")
    assert failure["error"]["remedy"]
    assert "b" in failure["image"] or "1" in failure["image"]
    assert failure["error"]["message"].split()[0] in result.stderr
    text = invoke(*given)
    assert (text.exit_code, "2 masks of 2 images" in text.stdout) == (1, True)


def test_nothing_but_damaged_images_is_an_error(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"shapes": [')
    result = invoke("convert", tmp_path, "out.json", "--from", "labelme", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["schema"], document["kind"]) == ("samedge.error/1", "dataset")
    assert "none of its 2 images can be read, first:" in document["message"]
    assert not Path("out.json").exists()


@pytest.mark.parametrize("name", ["labelme", "sam"])
def test_a_folder_is_recognised_though_its_first_file_is_damaged(name: str, photos: Path) -> None:
    path = write(name, Path("in"), image("disc", name="b.png"))
    (path / "a.json").write_text("{")
    made = convert(path, Path("out.json"))
    assert (made.source_format, made.images, len(made.unread)) == (name, 1, 1)


@pytest.mark.parametrize("name", [n for n in formats.names() if formats.get(n).draws])
def test_a_photo_that_a_drawing_cannot_take_is_listed(name: str, photos: Path) -> None:
    (photos / "cam1" / "0001.png").write_bytes(b"damaged")
    images = (image("disc", name="cam1/0001.png"), image("disc", name="cam2/0001.png"))
    path = write("coco", Path("in.json"), *images)
    made = convert(path, Path("out"), target_format=name, images=photos)
    assert (made.images, [one.name for one in made.unread]) == (1, ["cam1/0001.png"])


@pytest.mark.skipif(os.sep == "\\", reason="a backslash is between folders there")
@pytest.mark.parametrize("name", READ)
def test_a_backslash_is_a_letter_of_a_name(name: str, photos: Path) -> None:
    """Of a file of that name; and it does not become another image's."""
    (photos / "a").mkdir()
    for one in ("a\\b.png", "a/b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(photos / one)
    images = (image("disc", name="a\\b.png"), image("line", name="a/b.png"))
    path = write("coco", Path("in.json"), *images)
    there = target(name, "there")
    made = convert(path, there, target_format=name)
    assert made.images == 2
    assert not made.unread
    back = convert(there, Path("back.json"), source_format=name, images=photos)
    assert (back.images, back.unread) == (2, ())
    document = json.loads(Path("back.json").read_text())
    names = {entry["id"]: entry["file_name"] for entry in document["images"]}
    areas = {names[entry["image_id"]]: entry["area"] for entry in document["annotations"]}
    assert set(areas) == {"a\\b.png", "a/b.png"}
    assert areas["a\\b.png"] > areas["a/b.png"]


@pytest.mark.skipif(os.sep == "\\", reason="a backslash is between folders there")
def test_files_of_one_image_each_need_no_photos_for_their_backslash() -> None:
    for name in ("sam", "labelme", "svg", "geojson", "npz"):
        path = write(name, Path(name), image("disc", name="a\\b.png"))
        assert any("a\\b" in file.name for file in path.iterdir())
        convert(path, Path("back.json"), source_format=name)
        (entry,) = json.loads(Path("back.json").read_text())["images"]
        assert entry["file_name"] == "a\\b.png"


@pytest.mark.skipif(os.sep == "\\", reason="a backslash is between folders there")
def test_files_of_many_images_keep_the_backslash_that_samedge_wrote() -> None:
    """Masks say nothing of which way up they are, by which samedge's files were known alone."""
    path = write("png", Path("masks"), image("disc", name="a\\b.png"))
    for name in ("coco", "coco_polygons", "label_studio", "coco_panoptic", "coco"):
        there = target(name, f"to_{name}")
        made = convert(
            path, there, source_format="png" if path.name == "masks" else None, target_format=name
        )
        assert not made.changed
        path = there
    (entry,) = json.loads(path.read_text())["images"]
    assert entry["file_name"] == "a\\b.png"
    made = convert(path, Path("cvat.xml"))
    assert made.changed == {"names whose backslash programs take for a folder": 1}


def test_backslashes_of_windows_are_between_folders(photos: Path) -> None:
    entry = {"id": 1, "file_name": "cam1\\0001.png", "height": HEIGHT, "width": WIDTH}
    document: Any = {"images": [entry], "annotations": [], "categories": []}
    Path("in.json").write_text(json.dumps(document))
    for name in formats.names():
        if "empty_images" in formats.get(name).keeps:
            made = convert(Path("in.json"), target(name, f"to_{name}"), target_format=name)
            assert not any("\\" in str(file) for file in made.files)
            if formats.get(name).layout is not Layout.ONE_FILE:
                assert any("cam1" in file.parts for file in made.files), name


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
