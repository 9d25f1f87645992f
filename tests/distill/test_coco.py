from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.distill.coco import CocoFolder
from samedge.errors import DatasetError

RNG = np.random.default_rng(0)


def test_crowds_and_images_without_masks_are_left_out(make_coco: Callable[..., Path]) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["annotations"][1]["iscrowd"] = 1

    root = make_coco([(20, 30, [(1, 2, 5, 6), (8, 8, 4, 4)]), (20, 30, [])], edit=edit)
    folder = CocoFolder(root)
    assert (len(folder), folder.masks_of(0)) == (1, 1)
    scene = folder.scene(0, RNG)
    assert scene.size == (20, 30)
    np.testing.assert_array_equal(scene.boxes, [[1, 2, 5, 6]])
    assert scene.read_mask(0)[2:8, 1:6].all()
    assert scene.read_mask(0).sum() == 30
    assert scene.read_image(1.0).shape == (20, 30, 3)


def _edited(key: str, value: Any, *, of: str = "annotations") -> Callable[[dict[str, Any]], None]:
    def edit(document: dict[str, Any]) -> None:
        document[of][0][key] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (_edited("image_id", 77), "annotation 100 names no image"),
        (_edited("bbox", [1, 2]), "annotation 100 has bbox"),
        (lambda d: d.pop("annotations"), "has no list 'annotations'"),
        (lambda d: d["annotations"].append(d["annotations"][0]), "annotation 100"),
        (_edited("id", "1", of="images"), "image '1' has id '1': expected `int`"),
        (_edited("iscrowd", "0"), "annotation 100 has iscrowd '0'"),
        (lambda d: d["images"][0].pop("file_name"), "image 1 has no 'file_name'"),
        (lambda d: d.update(annotations=[]), "no image with a mask"),
    ],
)
def test_a_malformed_file_is_named(
    make_coco: Callable[..., Path], edit: Callable[[dict[str, Any]], object], problem: str
) -> None:
    root = make_coco([(20, 30, [(1, 2, 5, 6)])], edit=edit)
    with pytest.raises(DatasetError, match=problem) as caught:
        CocoFolder(root)
    assert "instances.json" in str(caught.value)


@pytest.mark.parametrize(
    "segmentation",
    [[[1.0]], [], None, [[1, 2, 3, 4]], {"size": [20, 30], "counts": [599]}],
    ids=str,
)
def test_a_broken_mask_is_left_out_and_named(
    make_coco: Callable[..., Path], segmentation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = [(1, 2, 5, 6), (8, 8, 4, 4)]
    root = make_coco([(20, 30, boxes)], edit=_edited("segmentation", segmentation))
    assert CocoFolder(root).masks_of(0) == 1
    assert "(annotation 100)" in caplog.text


def test_a_missing_box_is_the_masks_own(make_coco: Callable[..., Path]) -> None:
    root = make_coco([(20, 30, [(1, 2, 5, 6)])], edit=_edited("bbox", None))
    np.testing.assert_array_equal(CocoFolder(root).scene(0, RNG).boxes, [[1, 2, 5, 6]])


def test_deep_samples_are_scaled(make_coco: Callable[..., Path]) -> None:
    root = make_coco([(20, 30, [(1, 2, 5, 6)])])
    samples = np.linspace(0, 4095, 600).astype(np.uint16).reshape(20, 30)
    Image.fromarray(samples).save(root / "images" / "1.png")
    image = CocoFolder(root).scene(0, RNG).read_image(1.0)
    assert (image[0, 0].tolist(), image[-1, -1].tolist()) == ([0] * 3, [255] * 3)


def test_a_picture_of_another_size_is_refused(make_coco: Callable[..., Path]) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["images"][0]["height"] = 21
        document["annotations"][0]["segmentation"] = [[1, 2, 6, 2, 6, 8, 1, 8]]

    root = make_coco([(20, 30, [(1, 2, 5, 6)])], edit=edit)
    with pytest.raises(DatasetError, match=r"1\.png is 20x30 .* says 21x30"):
        CocoFolder(root).scene(0, RNG)


def test_a_missing_or_broken_picture_is_named(make_coco: Callable[..., Path]) -> None:
    root = make_coco([(20, 30, [(1, 2, 5, 6)])])
    folder, picture = CocoFolder(root), root / "images" / "1.png"
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"1\.png is not a readable picture"):
        folder.scene(0, RNG).read_image(1.0)
    picture.unlink()
    with pytest.raises(DatasetError, match=r"1\.png is not a readable picture"):
        folder.scene(0, RNG)


def test_missing_and_non_json_annotations(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"instances\.json cannot be read"):
        CocoFolder(tmp_path)
    (tmp_path / "instances.json").write_text("{")
    with pytest.raises(DatasetError, match="is not JSON"):
        CocoFolder(tmp_path)


@pytest.mark.parametrize("name", ["eval/coco", "fixtures/cats", "fixtures/nuclei"])
def test_real_annotations_decode_to_their_areas(shared_data: Path, name: str) -> None:
    folder = CocoFolder(shared_data / name)
    for index in range(3):
        scene = folder.scene(index, RNG)
        for number, (_, _, width, height) in enumerate(scene.boxes[:4]):
            area = int(scene.read_mask(number).sum())
            assert 0 < area <= (width + 2) * (height + 2)
