"""Annotations that are read, left out and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import DatasetError
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.pixels import rle
from tests.evaluation.squares import SIZE

pytest.importorskip("pycocotools")


class TestGroundTruth:
    def _break(self, dataset: Path, change: Any) -> Path:
        path = dataset / "instances.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
        return path

    def test_missing_file_and_not_json(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"none\.json cannot be read"):
            load_ground_truth(tmp_path / "none.json", tmp_path)
        (tmp_path / "bad.json").write_text("[")
        with pytest.raises(DatasetError, match=r"bad\.json is not JSON"):
            load_ground_truth(tmp_path / "bad.json", tmp_path)
        (tmp_path / "list.json").write_text("[]")
        with pytest.raises(DatasetError, match="no list 'images'"):
            load_ground_truth(tmp_path / "list.json", tmp_path)

    def test_what_cannot_be_drawn_is_counted_and_does_not_end_the_run(
        self, dataset: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = self._break(dataset, lambda d: d["annotations"][1].update(segmentation=[["x"]]))
        truth = load_ground_truth(path, dataset)
        reason = "a polygon with coordinates that are no numbers"
        assert truth.skipped == {"iscrowd": 1, reason: 1}
        assert truth.skipped_ids[reason] == [2]
        assert f"1 with {reason} (annotation 2)" in caplog.text

    def test_an_annotation_without_mask_or_without_image(self, dataset: Path) -> None:
        path = self._break(dataset, lambda d: d["annotations"][0].pop("segmentation"))
        assert load_ground_truth(path, dataset).skipped["no segmentation"] == 1
        path = self._break(
            dataset, lambda d: d["annotations"][0].update(segmentation=[], image_id=77)
        )
        with pytest.raises(DatasetError, match="belongs to image 77"):
            load_ground_truth(path, dataset)

    @pytest.mark.parametrize(
        ("box", "reason"),
        [
            ([500, 500, 20, 20], "a box that does not touch its mask"),
            ([0.1, 0.1, 0.2, 0.3], "a box that does not touch its mask"),
        ],
    )
    def test_a_box_elsewhere_is_counted(self, dataset: Path, box: Any, reason: str) -> None:
        path = self._break(dataset, lambda d: d["annotations"][0].update(bbox=box))
        assert load_ground_truth(path, dataset).skipped[reason] == 1

    def test_nothing_left_says_why(self, dataset: Path) -> None:
        def spoil(document: dict[str, Any]) -> None:
            for annotation in document["annotations"]:
                annotation["segmentation"] = [[1, 1, 2, 2]]

        with pytest.raises(DatasetError, match=r"no instance.*3 with a polygon of fewer than"):
            load_ground_truth(self._break(dataset, spoil), dataset)

    def test_names_the_missing_and_the_wrong_image(self, dataset: Path) -> None:
        truth = load_ground_truth(dataset / "instances.json", dataset / "elsewhere")
        with pytest.raises(DatasetError, match=r"no .*elsewhere/a\.png: give the folder"):
            truth.images[0].pixels()
        Image.new("RGB", (10, 20)).save(dataset / "a.png")
        truth = load_ground_truth(dataset / "instances.json", dataset)
        with pytest.raises(DatasetError, match="is 20 x 10"):
            truth.images[0].pixels()

    def test_orientation_in_exif_is_not_applied(self, dataset: Path) -> None:
        picture = Image.new("RGB", SIZE[::-1])
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(dataset / "a.png", exif=exif)
        truth = load_ground_truth(dataset / "instances.json", dataset)
        assert truth.images[0].pixels().shape == (*SIZE, 3)

    def test_instances_without_a_pixel_are_counted_and_left_out(self, dataset: Path) -> None:
        empty = rle.rle_from_mask(np.zeros(SIZE, bool))
        path = self._break(dataset, lambda d: d["annotations"][2].update(segmentation=empty))
        truth = load_ground_truth(path, dataset)
        assert truth.skipped == {"iscrowd": 1, "empty": 1}
        assert sum(len(image.annotations) for image in truth.images) == 2

    def test_a_degenerate_box_is_replaced_by_the_masks_own(self, dataset: Path) -> None:
        path = self._break(dataset, lambda d: d["annotations"][0].update(bbox=[10, 10, 0, 5]))
        instance = next(load_ground_truth(path, dataset).images[0].instances())
        assert instance.box == (10.0, 10.0, 30.0, 30.0)
