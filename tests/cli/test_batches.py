"""Batches with a bad image, what files call images, empty masks; both commands alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.formats import names as format_names
from tests.cli.conftest import invoke

SEGMENT = ("segment", "--box", "10,10,30,25")
EVERYTHING = (
    *("everything", "--points-per-side", "2", "--predicted-iou", "0.2"),
    *("--stability", "0"),
)
COMMANDS = pytest.mark.parametrize("command", [SEGMENT, EVERYTHING], ids=lambda c: c[0])


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Three photos in two folders, the second cut in half."""
    rng = np.random.default_rng(0)
    found = []
    for name in ("cam1/0001.jpg", "cam1/0002.jpg", "cam2/0001.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
        found.append(path)
    data = found[1].read_bytes()
    found[1].write_bytes(data[: len(data) // 2])
    return found


@COMMANDS
def test_a_bad_image_loses_nothing_else(
    command: tuple[str, ...], photos: list[Path], toy_bundle: Path
) -> None:
    result = invoke(*command, *photos, "--bundle", toy_bundle, "-o", "out.json", "--json")
    assert result.exit_code == 1
    entries = json.loads(result.stdout)["results"]
    assert ["error" in entry for entry in entries] == [False, True, False]
    bad = entries[1]
    assert bad["image"] == {"path": str(photos[1]), "height": None, "width": None}
    assert bad["error"]["kind"] == "image"
    assert str(photos[1]) in bad["error"]["message"]
    assert "again" in bad["error"]["remedy"]
    assert bad["error"]["exit_code"] == 1
    assert entries[0]["files"] == entries[2]["files"] == ["out.json"]
    assert str(photos[1]) in result.stderr
    coco = json.loads(Path("out.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["cam1/0001.jpg", "cam2/0001.jpg"]
    assert {a["image_id"] for a in coco["annotations"]} == {1, 2}


@COMMANDS
@pytest.mark.parametrize("kind", ["overlay", "sam", "npz", "yolo"])
def test_a_folder_holds_what_was_finished(
    command: tuple[str, ...], kind: str, photos: list[Path], toy_bundle: Path
) -> None:
    if kind not in format_names():
        pytest.skip(f"no format {kind}")
    result = invoke(*command, *photos, "--bundle", toy_bundle, "-o", "out", "--format", kind)
    assert result.exit_code == 1
    assert f"samedge: {photos[1]}" in result.stderr
    written = {str(file.relative_to("out")) for file in Path("out").rglob("*") if file.is_file()}
    for folder in ("cam1", "cam2"):
        assert any(f"{folder}/0001" in name for name in written), written
    assert not any("0002" in name for name in written)


@COMMANDS
def test_one_bad_image_alone_is_an_error(
    command: tuple[str, ...], photos: list[Path], toy_bundle: Path
) -> None:
    result = invoke(*command, photos[1], "--bundle", toy_bundle, "-o", "out.json", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["schema"] == "samedge.error/1"
    assert not Path("out.json").exists()


@COMMANDS
def test_all_bad_is_one_entry_each(
    command: tuple[str, ...], photos: list[Path], toy_bundle: Path
) -> None:
    bad = [photos[1], photos[1].with_name("absent.jpg")]
    result = invoke(*command, *bad, "--bundle", toy_bundle, "-o", "out.json", "--json")
    assert result.exit_code == 1
    assert [set(entry) for entry in json.loads(result.stdout)["results"]] == [
        {"image", "error"},
        {"image", "error"},
    ]
    assert not Path("out.json").exists()


@COMMANDS
def test_an_unwritable_place_is_named(
    command: tuple[str, ...], photos: list[Path], toy_bundle: Path
) -> None:
    Path("taken").write_text("a file, no folder")
    result = invoke(*command, photos[0], "--bundle", toy_bundle, "-o", "taken/x.json", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["kind"], found["exit_code"]) == ("write", 1)
    assert "taken/x.json" in found["message"]


def test_the_same_rules_for_both(photos: list[Path], toy_bundle: Path) -> None:
    for extra in (
        ("-o", "x.png"),
        ("-o", "mask.xyz"),
        ("--bundle", "nowhere"),
        ("--backend", "onxruntime"),
        ("--format", "gif"),
        ("--points", "1"),
    ):
        bundle = () if "--bundle" in extra else ("--bundle", toy_bundle)
        codes = {
            invoke(*command, photos[0], photos[2], *bundle, *extra).exit_code
            for command in (SEGMENT, EVERYTHING)
        }
        assert len(codes) == 1, (extra, codes)


@COMMANDS
def test_a_png_is_masks_and_a_jpg_a_drawing(
    command: tuple[str, ...], photos: list[Path], toy_bundle: Path
) -> None:
    common = (*command, photos[0], "--bundle", toy_bundle)
    found = json.loads(invoke(*common, "-o", "x.png", "--json").stdout)
    several = len(found["masks"]) != 1
    expected = [f"x_{i}.png" for i in range(len(found["masks"]))] if several else ["x.png"]
    assert found["files"] == expected
    for name, record in zip(found["files"], found["masks"], strict=True):
        with Image.open(name) as picture:
            assert picture.mode == "L"
            assert (np.asarray(picture) == 255).sum() == record["area"]
    assert json.loads(invoke(*common, "-o", "x.jpg", "--json").stdout)["files"] == ["x.jpg"]
    with Image.open("x.jpg") as picture:
        assert (picture.mode, picture.size) == ("RGB", (60, 40))


@pytest.mark.parametrize("command", [SEGMENT, EVERYTHING], ids=lambda c: c[0])
def test_embedded_models_have_names(command: tuple[str, ...], photos: list[Path]) -> None:
    result = invoke(*command, photos[0], "--bundle", "samedge-nanoo", "--json")
    assert result.exit_code == 1
    assert "no embedded model 'samedge-nanoo'" in json.loads(result.stdout)["message"]


def test_empty_masks_are_left_out_and_counted(photos: list[Path], toy_bundle: Path) -> None:
    from samedge.formats.destination import Destination
    from samedge.formats.masks import ImageMasks, record_from_mask

    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    found = ImageMasks("a.png", (4, 5), (record_from_mask(empty), record_from_mask(full)))
    for kind in ("coco", "coco_polygons", "sam"):
        with Destination(Path(f"{kind}.json"), kind).open() as writer:
            writer.add(found)
        document: Any = json.loads(Path(f"{kind}.json").read_text())
        assert [entry["area"] for entry in document["annotations"]] == [20]
        assert dict(+writer.left_out) == {"empty masks": 1}


def test_what_an_interrupt_leaves(photos: list[Path]) -> None:
    from samedge.formats.destination import Destination
    from samedge.formats.masks import ImageMasks, record_from_mask

    one = ImageMasks("a.png", (4, 5), (record_from_mask(np.ones((4, 5), bool)),))

    def interrupted() -> None:
        with Destination(Path("x.json"), None).open() as writer:
            writer.add(one)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(json.loads(Path("x.json").read_text())["images"]) == 1
    assert [path.name for path in Path().iterdir() if "tmp" in path.name] == []


@pytest.mark.parametrize("kind", ["coco", "coco_polygons"])
def test_eval_finds_images_of_one_name_in_two_folders(
    kind: str, photos: list[Path], toy_bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pycocotools")
    Image.new("RGB", (30, 20), "red").save(photos[2])  # the other camera's size
    both = (photos[0], photos[2])
    asked = (*SEGMENT, *both, "--bundle", toy_bundle, "-o", "x.json", "--format", kind)
    assert invoke(*asked).exit_code == 0
    common = ("--images", tmp_path, "--bundle", toy_bundle, "--prompts", "box", "--json")
    result = invoke("eval", "--dataset", "x.json", *common, "--instances")
    assert result.exit_code == 0, result.stderr
    instances = json.loads(result.stdout)["instances"]
    assert [entry["image"] for entry in instances] == ["cam1/0001.jpg", "cam2/0001.jpg"]
    assert [entry["rle"]["size"] for entry in instances] == [[40, 60], [20, 30]]


@COMMANDS
def test_a_folder_with_other_things_in_it(
    command: tuple[str, ...], photos: list[Path], toy_bundle: Path
) -> None:
    folder = photos[0].parent
    photos[1].unlink()
    (folder / "notes.txt").write_text("not a picture")
    (folder / "clip.gif").write_bytes(b"GIF89a")
    (folder / "more").mkdir()
    result = invoke(*command, folder, photos[2], "--bundle", toy_bundle, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    entries = document["results"]
    assert [Path(entry["image"]["path"]).name for entry in entries] == ["0001.jpg", "0001.jpg"]
    told = {entry["names"][0]: entry["why"] for entry in document["skipped_files"]}
    assert told.keys() == {"clip.gif", "more", "notes.txt"}
    assert all(why in result.stderr for why in told.values())
    result = invoke(*command, folder / "more", "--bundle", toy_bundle)
    assert result.exit_code == 1
    assert "holds no picture (" in result.stderr
    assert result.stderr.rstrip().endswith("are not searched.")
