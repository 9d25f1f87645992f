"""One strict check of annotation files, the same for evaluation and training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samedge.errors import DatasetError
from samedge.formats.annotation_file import LeftOut, read_annotations

SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]


def document() -> dict[str, Any]:
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 5, "width": 8},
            {"id": 2, "file_name": "b.png", "height": 5, "width": 8, "frame": "upright"},
        ],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "segmentation": [SQUARE],
                "bbox": [2, 1, 4, 3],
                "area": 12,
                "iscrowd": 0,
            }
            for number in (1, 2)
        ],
    }


def written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "x.json"
    path.write_text(json.dumps(content))
    return path


def test_a_sound_file(tmp_path: Path) -> None:
    file = read_annotations(written(tmp_path, document()))
    assert [image.size for image in file.images] == [(5, 8)] * 2
    assert file.images[1].frame == "upright"
    assert [[a.id for a in annotations] for _, annotations in file] == [[1], [2]]


def test_a_file_of_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, document())
    size = path.stat().st_size
    monkeypatch.setenv("SAMEDGE_LIMITS", f"annotation_bytes={size}")
    read_annotations(path)
    monkeypatch.setenv("SAMEDGE_LIMITS", f"annotation_bytes={size - 1}")
    with pytest.raises(DatasetError, match=rf"limit {size - 1}.*annotation_bytes={size}"):
        read_annotations(path)


def test_names_of_windows_find_their_files(tmp_path: Path) -> None:
    content = document()
    content["images"][0]["file_name"] = "cam1\\a.png"
    first = read_annotations(written(tmp_path, content)).images[0]
    assert first.path_in(tmp_path) == tmp_path / "cam1\\a.png"  # nothing is there
    (tmp_path / "cam1").mkdir()
    (tmp_path / "cam1" / "a.png").touch()
    assert first.path_in(tmp_path) == tmp_path / "cam1" / "a.png"


@pytest.mark.parametrize(
    ("box", "corners"),
    [([2, 1, 4, 3], (2, 1, 6, 4)), ([2, 1, 0, 3], None), ([float("nan")] * 4, None), (None, None)],
)
def test_corners_of_a_box_that_is_one(tmp_path: Path, box: Any, corners: Any) -> None:
    content = document()
    content["annotations"][0]["bbox"] = box
    (first,) = read_annotations(written(tmp_path, content)).by_image[1]
    assert first.corners == corners


def image(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["images"][0].update(fields)


def annotation(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["annotations"][0].update(fields)


ACCEPTED = {
    "no category": lambda d: d["annotations"][0].pop("category_id"),
    "no list of categories, by null": lambda d: d.update(categories=None),
    "a box of NaN": annotation(bbox=[float("nan")] * 4),
    "no box": lambda d: d["annotations"][0].pop("bbox"),
    "no box, by null": annotation(bbox=None),
    "a box alone": lambda d: d["annotations"][0].pop("segmentation"),
    "a category twice": lambda d: d.update(categories=[{"id": 1, "name": "cat"}] * 2),
    "no area": annotation(area=None),
    "a crowd flag as a truth value": annotation(iscrowd=False),
    "no crowd flag": annotation(iscrowd=None),
    "fields of other tools": annotation(attributes={"occluded": True}, score=0.5),
    "NaN in one polygon": annotation(segmentation=[[float("nan")] * 6]),
    "a negative box": annotation(bbox=[6, 4, -4, -3]),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted(tmp_path: Path, name: str) -> None:
    content = document()
    ACCEPTED[name](content)
    assert len(read_annotations(written(tmp_path, content)).by_image) == 2


REFUSED = {
    "box of strings": (annotation(bbox=["2", "1", "4", "3"]), r"annotation 1 has bbox \['2'"),
    "box as a mapping": (annotation(bbox={"x": 2}), r"annotation 1 has bbox \{'x': 2\}"),
    "short box": (annotation(bbox=[1, 2]), "annotation 1 has bbox"),
    "endless box": (annotation(bbox=[10**400, 1, 1, 1]), "annotation 1 has bbox"),
    "string ids": (annotation(image_id="1"), "annotation 1 has image_id '1': expected `int`"),
    "crowd flag in quotes": (annotation(iscrowd="0"), "annotation 1 has iscrowd '0'"),
    "another crowd flag": (annotation(iscrowd=7), "has iscrowd 7, expected 0 or 1"),
    "area in quotes": (annotation(area="12"), "annotation 1 has area '12'"),
    "no image of it": (annotation(image_id=77), "belongs to image 77, which is not in"),
    "endless id": (image(id=10**400), "has id 1000"),
    "no id": (lambda d: d["annotations"][0].pop("id"), r"annotations\[0\] has no 'id'"),
    "a list": (lambda d: d["annotations"].append([1]), r"annotations\[2\] is \[1\]"),
    "null": (lambda d: d["images"].append(None), r"images\[2\] is None"),
    "width null": (image(width=None), "image 1 has width None: expected `int`"),
    "width 0": (image(width=0), "image 1 has width 0: expected `int` >= 1"),
    "giant": (image(width=10**9), "has 5000000000 pixels, limit 89478485"),
    "endless": (image(width=10**400), "image 1 has width 1000"),
    "no name": (image(file_name=""), "image 1 has file_name ''"),
    "NUL in a name": (image(file_name="a\0"), r"image 1 has file_name 'a\\x00'"),
    "duplicate images": (image(id=2), r"1 image ids.*more than once \(first image 2\)"),
    "one category's number for two": (
        lambda d: d.update(categories=[{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]),
        r"1 category ids.*more than once",
    ),
    "duplicate annotations": (annotation(id=2), r"1 annotation ids.*more than once"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    edit, reason = REFUSED[name]
    content = document()
    edit(content)
    with pytest.raises(DatasetError, match=reason) as caught:
        read_annotations(written(tmp_path, content))
    assert "x.json" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b"[]", b"nul", b"\xff\xfe", b"[" * 100_000, b'{"images": [' * 50_000, b"9" * 5000],
)
def test_what_is_no_annotation_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(DatasetError, match=r"x\.json (is not JSON|has no list)"):
        read_annotations(tmp_path / "x.json")


def test_what_was_left_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = read_annotations(written(tmp_path, document()))
    left_out = LeftOut()
    for _ in range(7):
        left_out.add("no segmentation", file.by_image[1][0])
    left_out.say(tmp_path)
    assert "7 with no segmentation (annotation 1, 1, 1, 1, 1, ...)" in caplog.text
