"""Annotation files as other programs and people leave them, and not as samedge writes them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge import formats
from samedge.errors import DatasetError
from samedge.formats.base import Unread
from samedge.formats.masks import ImageMasks
from samedge.formats.yolo_names import class_names

TRIANGLE = [[10, 10], [50, 10], [50, 40]]


def read(
    name: str, path: Path, images: Path | None = None, *, unread: list[Unread] | None = None
) -> tuple[list[ImageMasks], Any]:
    left_out: Counter[str] = Counter()
    given = formats.get(name).read(path, images=images, left_out=left_out, unread=unread)
    return list(given), dict(+left_out)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A folder of one photo, a.jpg."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (100, 80)).save(folder / "a.jpg")
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "names:\n  0: cat\n  1: dog\n",
        "names: {0: cat, 1: dog}\n",
        "names: [cat, 'dog']\nnc: 2\n",
        'path: .\nnames:\n- cat\n- "dog"\ntrain:\n- a\n- b\n',
        "names:\n  '0': cat  # small\n  \"1\": dog\ndownload: |\n  7: x\n",
        "# names: below\nnames: [\n  cat,  # small\n  dog,\n]\n",
        "names: &all\n  0: cat\n  1: dog\n",
    ],
)
def test_names_of_yolos_classes(text: str) -> None:
    assert class_names(text) == {0: "cat", 1: "dog"}
    assert class_names(text.replace("\n", "\r\n")) == {0: "cat", 1: "dog"}


def test_odd_names_of_yolos_classes() -> None:
    assert class_names("""names: ['cat, big', "a # b", driver's seat, 'it''s']""") == {
        0: "cat, big",
        1: "a # b",
        2: "driver's seat",
        3: "it's",
    }
    assert class_names('names: {3: "a: b", 5: c}') == {3: "a: b", 5: "c"}
    assert class_names("nc: 3\n") == class_names("") == class_names("names:\n") == {}


def yolo(root: Path, rows: str, **files: str) -> Path:
    labels = root / "labels"
    labels.mkdir()
    (labels / "a.txt").write_text(rows, encoding="utf-8")
    for name, text in files.items():
        (labels / f"{name}.txt").write_text(text)
    return root


def test_yolo_as_labellers_leave_it(tmp_path: Path, photo: Path) -> None:
    rows = "\ufeff0.0 .1 .1 .5 .1 .5 .5\r\n\r\n1 .2 .2 .6 .2 .6 .6\r\n-1 0 0 1 0 1 1\r\n"
    root = yolo(tmp_path, rows, classes="cat\ndog\n", gone="0 .1 .1 .5 .1 .5 .5\n")
    unread: list[Unread] = []
    (found,), left_out = read("yolo", root, photo, unread=unread)
    assert [record.category_name for record in found.masks] == ["cat", "dog"]
    assert left_out == {"rows whose class is no number from 0 on": 1}
    assert [Path(one.name).name for one in unread] == ["gone.txt"]
    with pytest.raises(DatasetError, match=r"'gone' that is not in.*--images"):
        read("yolo", root, photo)


def test_yolo_without_any_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"'a' that is not in.*--images"):
        read("yolo", yolo(tmp_path, "0 .1 .1 .5 .1 .5 .5\n"))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"text": "a caption", "image": "/data/upload/1/ab-a.jpg"}, "1/ab-a.jpg"),
        ({"caption": "x", "pic": "/data/local-files/?d=my%20photos/a.PNG"}, "my photos/a.PNG"),
        ({"pic": "s3://bucket/a.jpg"}, "s3://bucket/a.jpg"),
        ({"frame": "camera 7"}, "camera 7"),
        ({"number": 7}, ""),
    ],
)
def test_the_image_of_a_label_studio_task(tmp_path: Path, data: Any, name: str) -> None:
    result = {
        "type": "polygonlabels",
        "original_width": 100,
        "original_height": 80,
        "value": {"points": TRIANGLE, "polygonlabels": ["cat"]},
    }
    task = {"data": data, "annotations": [{"result": [result]}]}
    (tmp_path / "tasks.json").write_text(json.dumps([task]))
    (found,), _ = read("label_studio", tmp_path / "tasks.json")
    assert found.name == name
    assert len(found.masks) == 1


def test_tracks_of_cvat_are_named(tmp_path: Path) -> None:
    track = '<track id="0"><polygon frame="0" points="1,1;9,1;9,9"/></track>'
    (tmp_path / "a.xml").write_text(f"<annotations>{track}</annotations>")
    with pytest.raises(DatasetError, match=r"tracks of a video.*CVAT for images"):
        read("cvat", tmp_path / "a.xml")


def test_geojson_with_heights_collections_and_alone(tmp_path: Path, photo: Path) -> None:
    ring = [[10, 10], [60, 10], [60, 60], [10, 60], [10, 10]]
    square = {"type": "Polygon", "coordinates": [ring]}
    tall = {"type": "Polygon", "coordinates": [[[*point, 3.5] for point in ring]]}
    both = {"type": "GeometryCollection", "geometries": [square, {"type": "Point"}]}
    nested = {"type": "GeometryCollection", "geometries": [tall]}
    for geometry, count in ((square, 1), (tall, 1), (nested, 1), (both, 0)):
        feature = {"type": "Feature", "geometry": geometry}
        for document in (feature, [feature], {"features": [feature]}):
            (tmp_path / "a.geojson").write_text(json.dumps(document))
            (found,), left_out = read("geojson", tmp_path / "a.geojson", photo)
            assert [record.area for record in found.masks] == [2500] * count
            assert sum(left_out.values()) == 1 - count


def test_a_rectangle_of_x_anylabeling_has_four_corners(tmp_path: Path) -> None:
    about = {"label": "cat", "shape_type": "rectangle"}
    corners = [[10, 10], [40, 10], [40, 30], [10, 30]]
    shapes = [about | {"points": corners}, about | {"points": corners[::2]}]
    document = {"shapes": shapes, "imagePath": "a.jpg", "imageHeight": 50, "imageWidth": 60}
    (tmp_path / "a.json").write_text(json.dumps(document))
    (found,), left_out = read("labelme", tmp_path / "a.json")
    assert not left_out
    four, two = (record.mask for record in found.masks)
    assert four.sum() == 31 * 21
    assert (four == two).all()


def test_labelme_without_a_size_or_a_name(tmp_path: Path, photo: Path) -> None:
    shape = {"label": "cat", "points": TRIANGLE, "shape_type": "polygon"}
    document: dict[str, Any] = {"shapes": [shape], "imagePath": "C:\\x\\a.jpg", "imageHeight": None}
    (tmp_path / "a.json").write_text(json.dumps(document))
    (found,), _ = read("labelme", tmp_path / "a.json", photo)
    assert (found.name, found.size, len(found.masks)) == ("a.jpg", (80, 100), 1)
    with pytest.raises(DatasetError, match=r"how large its image 'a\.jpg' is.*--images"):
        read("labelme", tmp_path / "a.json")
    (photo / "b.json").write_text(
        json.dumps({"shapes": [shape], "imagePath": "", "imageHeight": 80, "imageWidth": 100})
    )
    (found,), _ = read("labelme", photo / "b.json")
    assert found.name == "b"


def test_numbers_of_frames_are_no_numbers_of_masks(tmp_path: Path) -> None:
    """Masks of a video's frames, from any program: with the frames at hand each is its own."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    for number in range(3):
        Image.new("L", (20, 10), 255).save(masks / f"frame_{number:04d}.png")
        Image.new("RGB", (20, 10)).save(images / f"frame_{number:04d}.jpg")
    found, _ = read("png", masks, images)
    assert [image.name for image in found] == [f"frame_{number:04d}.jpg" for number in range(3)]


def test_files_named_after_images_with_their_endings(tmp_path: Path, photo: Path) -> None:
    """QuPath and others keep the image's ending before their own."""
    outline = {"type": "Polygon", "coordinates": [[*TRIANGLE, TRIANGLE[0]]]}
    feature = {"type": "Feature", "geometry": outline}
    path = tmp_path / "a.jpg.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (image,), _ = read("geojson", path, photo)
    assert image.name == "a.jpg"
    (tmp_path / "yolo").mkdir()
    root = yolo(tmp_path / "yolo", "0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    (root / "labels" / "a.txt").rename(root / "labels" / "a.jpg.txt")
    (image,), _ = read("yolo", root, photo)
    assert image.name == "a.jpg"
    Image.new("L", (100, 80), 255).save(tmp_path / "a.jpg.png")
    (image,), _ = read("png", tmp_path / "a.jpg.png", photo)
    assert image.name == "a.jpg"


def test_an_annotation_of_no_category_is_not_of_the_category_0(tmp_path: Path) -> None:
    outline = [value for point in TRIANGLE for value in point]
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 80, "width": 100}],
        "annotations": [{"id": 1, "image_id": 1, "segmentation": [outline]}],
        "categories": [{"id": 0, "name": "person"}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    (image,), _ = read("coco", path)
    assert [record.category_name for record in image.masks] == ["object"]


@pytest.mark.parametrize("given", [False, True])
def test_yolo_with_a_folder_for_each_split(tmp_path: Path, photo: Path, given: bool) -> None:
    """Roboflow's layout; its READMEs are no labels."""
    for split in ("train", "valid"):
        for part in ("labels", "images"):
            (tmp_path / "set" / split / part).mkdir(parents=True)
    folder = tmp_path / "set"
    (folder / "train" / "labels" / "a.txt").write_text("1 .1 .1 .5 .1 .5 .5\n")
    Image.new("RGB", (100, 80)).save(folder / "train" / "images" / "a.jpg")
    (folder / "data.yaml").write_text("train: ../train/images\nnames: [cat, dog]\n")
    (folder / "README.roboflow.txt").write_text("exported by roboflow")
    (image,), left_out = read("yolo", folder, photo if given else None)
    assert image.name == ("a.jpg" if given else "train/images/a.jpg")
    assert [mask.category_name for mask in image.masks] == ["dog"]
    assert not left_out


@pytest.mark.parametrize(
    "label_map", [None, "cat:250,50,83::\n", "background:0,0,0::\ncat:250,50,83::"]
)
def test_voc_in_the_colours_themselves(tmp_path: Path, label_map: str | None) -> None:
    """CVAT's "Segmentation mask" and datumaro write colours, not indices of a palette."""
    classes, objects = np.zeros((2, 40, 60, 3), np.uint8)
    classes[5:20, 10:30] = (250, 50, 83) if label_map else (128, 0, 0)
    objects[5:20, 10:20], objects[5:20, 20:30] = (128, 0, 0), (0, 128, 0)
    objects[20:22, 10:30] = (224, 224, 192)  # void
    for name, picture in (("SegmentationClass", classes), ("SegmentationObject", objects)):
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "a.png")
    if label_map:
        (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + label_map)
    (image,), _ = read("voc", tmp_path)
    assert [mask.bbox for mask in image.masks] == [(10, 5, 10, 15), (20, 5, 10, 15)]
    assert {mask.category_name for mask in image.masks} == {"cat" if label_map else "aeroplane"}


def test_a_photograph_is_no_picture_of_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "Annotations").mkdir()
    noise = rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "Annotations" / "a.png")
    with pytest.raises(DatasetError, match="colours, expected a palette"):
        read("davis", tmp_path)


def test_shapes_of_label_studio_whose_labels_stand_apart(tmp_path: Path) -> None:
    """The tags Polygon and Labels, instead of PolygonLabels, give two results of one id."""
    about = {"original_width": 100, "original_height": 80, "id": "r1"}
    shape = {"points": [[10, 10], [50, 10], [50, 50]]}
    results = [
        {**about, "type": "polygon", "value": shape},
        {**about, "type": "labels", "value": {**shape, "labels": ["cat"]}},
    ]
    file = tmp_path / "tasks.json"
    file.write_text(
        json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": results}]}])
    )
    (image,), left_out = read("label_studio", file)
    assert [mask.category_name for mask in image.masks] == ["cat"]
    assert not left_out


def test_numbers_for_labels_and_words_for_groups_of_labelme(tmp_path: Path) -> None:
    shapes = [{"label": 1, "points": TRIANGLE, "group_id": "a"}]
    shapes += [{"label": 1, "points": [[60, 10], [90, 10], [90, 40]], "group_id": "a"}]
    document = {"shapes": shapes, "imagePath": "a.jpg", "imageHeight": 80, "imageWidth": 100}
    (tmp_path / "a.json").write_text(json.dumps(document))
    (image,), left_out = read("labelme", tmp_path / "a.json")
    assert [mask.category_name for mask in image.masks] == ["1"]
    assert not left_out


_ENDLESS = 10**400  # JSON has whole numbers of any length, and no float is so large
_SQUARE = [[1, 1], [8, 1], [8, 8], [1, 1]]


def _geojson(ring: list[list[int]], **properties: object) -> dict[str, object]:
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    image = {"file_name": "a.png", "height": 20, "width": 20}
    return {"type": "FeatureCollection", "image": image, "features": [feature]}


def _task(kind: str, **value: object) -> list[dict[str, object]]:
    result = {"type": kind, "original_width": 20, "original_height": 20, "value": value}
    return [{"data": {"image": "a.png"}, "predictions": [{"result": [result]}]}]


@pytest.mark.parametrize(
    ("name", "document", "masks"),
    [
        ("geojson", _geojson(_SQUARE, predicted_iou=_ENDLESS), 1),
        ("geojson", _geojson([[_ENDLESS, 1], *_SQUARE]), 0),
        ("label_studio", _task("rectanglelabels", x=_ENDLESS, y=1, width=30, height=40), 0),
        ("label_studio", _task("polygonlabels", points=[[_ENDLESS, 1], *_SQUARE]), 0),
        ("label_studio", _task("ellipselabels", x=9, y=9, radiusX=_ENDLESS, radiusY=4), 0),
    ],
)
def test_a_number_past_the_end_of_all_floats_ends_nothing_but_its_mask(
    tmp_path: Path, name: str, document: object, masks: int
) -> None:
    file = tmp_path / "a.geojson"
    file.write_text(json.dumps(document))
    (image,), left_out = read(name, file)
    assert len(image.masks) == masks
    assert sum(left_out.values()) == 1 - masks
    assert all(record.predicted_iou is None for record in image.masks)
