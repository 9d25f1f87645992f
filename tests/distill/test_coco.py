from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.distill.coco import CocoFolder, decode_segmentation
from samedge.errors import DatasetError

RNG = np.random.default_rng(0)

POLYGON = [[2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]]
COUNTS = {"size": [5, 8], "counts": [11, 3, 2, 3, 2, 3, 2, 3, 11]}  # column by column
EXPECTED = np.zeros((5, 8), np.uint8)
EXPECTED[1:4, 2:6] = 1


def test_the_three_segmentations_decode_alike() -> None:
    from pycocotools import mask as rle_codec

    encoded = rle_codec.encode(np.asfortranarray(EXPECTED))
    compressed = {"size": [5, 8], "counts": encoded["counts"].decode()}
    for segmentation in (POLYGON, COUNTS, compressed):
        mask = decode_segmentation(segmentation, (5, 8))
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, EXPECTED)


def test_several_polygons_are_one_mask() -> None:
    two = [*POLYGON, [6.0, 1.0, 8.0, 1.0, 8.0, 4.0, 6.0, 4.0]]
    assert decode_segmentation(two, (5, 8)).sum() == EXPECTED.sum() + 6


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ([], "no polygon"),
        ([[1.0, 2.0, 3.0, 4.0]], "at least six"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]], "even number"),
        ({"size": [5, 9], "counts": [45]}, "size"),
        ({"size": [5, 8], "counts": [41]}, "41 pixels, the image has 40"),
        ({"size": [5, 8], "counts": [41, -1]}, "covers"),
        ({"counts": [40]}, "neither"),
        (None, "neither"),
    ],
)
def test_malformed_segmentations(segmentation: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_segmentation(segmentation, (5, 8))


def test_crowds_and_images_without_masks_are_left_out(make_coco: Callable[..., Path]) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["annotations"][1]["iscrowd"] = 1

    root = make_coco([(20, 30, [(1, 2, 5, 6), (8, 8, 4, 4)]), (20, 30, [])], edit=edit)
    folder = CocoFolder(root)
    assert (len(folder), folder.mask_count) == (1, 1)
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
        (lambda d: d.pop("annotations"), "has no 'annotations'"),
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


def test_a_broken_mask_names_file_and_annotation(make_coco: Callable[..., Path]) -> None:
    root = make_coco([(20, 30, [(1, 2, 5, 6)])], edit=_edited("segmentation", [[1.0]]))
    scene = CocoFolder(root).scene(0, RNG)
    with pytest.raises(DatasetError, match=r"instances\.json: annotation 100 cannot be decoded"):
        scene.read_mask(0)


def test_a_picture_of_another_size_is_refused(make_coco: Callable[..., Path]) -> None:
    root = make_coco([(20, 30, [(1, 2, 5, 6)])], edit=_edited("height", 21, of="images"))
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
