"""Grids of clicks, crops and what overlaps, beside segment-anything and torchvision."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.pixels.boxes import crop_boxes, nms, point_grid, soft_nms_order


class TestParts:
    @pytest.mark.parametrize("side", [1, 2, 7, 32])
    def test_grid_equals_segment_anything(self, side: int) -> None:
        amg = pytest.importorskip("segment_anything.utils.amg")
        assert np.allclose(point_grid(side), amg.build_point_grid(side))

    @pytest.mark.parametrize("size", [(420, 560), (1080, 1920), (333, 77)])
    @pytest.mark.parametrize("layers", [0, 1, 2])
    def test_crops_equal_segment_anything(self, size: tuple[int, int], layers: int) -> None:
        amg = pytest.importorskip("segment_anything.utils.amg")
        boxes, indices = amg.generate_crop_boxes(size, layers, 512 / 1500)
        ours = list(crop_boxes(size, layers=layers, overlap_ratio=512 / 1500))
        assert sorted(ours) == sorted(zip(map(tuple, boxes), indices, strict=True))

    @pytest.mark.parametrize("seed", range(6))
    def test_nms_equals_torchvision(self, seed: int) -> None:
        torch = pytest.importorskip("torch")
        ops = pytest.importorskip("torchvision.ops")
        rng = np.random.default_rng(seed)
        corner = rng.uniform(0, 80, (300, 2)).round(rng.integers(0, 3))
        boxes = np.concatenate([corner, corner + rng.integers(1, 40, (300, 2))], axis=1)
        scores = rng.random(300).round(2)  # with ties
        for threshold in (0.3, 0.7):
            expected = ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
            assert nms(boxes, scores, threshold=threshold).tolist() == expected.tolist()

    def test_soft_nms_lowers_what_overlaps_and_drops_nothing(self) -> None:
        boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 10], [0, 0, 10, 9]])
        scores = np.array([0.9, 0.8, 0.7, 0.6])
        assert soft_nms_order(boxes, scores, sigma=0).tolist() == [0, 1, 2, 3]
        # 0.8 exp(-0.8^2 / 2) = 0.58, 0.6 exp(-0.9^2 / 2) = 0.40
        assert soft_nms_order(boxes, scores, sigma=2.0).tolist() == [0, 2, 1, 3]
        # 0.8 exp(-0.8^2 / 0.5) = 0.22, 0.6 exp(-0.9^2 / 0.5) = 0.12
        assert soft_nms_order(boxes, scores, sigma=0.5).tolist() == [0, 2, 1, 3]
        # a weight of all that came before: 0.32 exp(-0.9^2 / 5 - 0.8^2 / 5) below 0.25
        scores = np.array([0.9, 0.8, 0.25, 0.32])
        assert soft_nms_order(boxes, scores, sigma=5.0).tolist() == [0, 1, 2, 3]
        assert soft_nms_order(boxes, scores, sigma=50.0).tolist() == [0, 1, 3, 2]
        assert soft_nms_order(np.zeros((0, 4)), np.zeros(0), sigma=1.0).tolist() == []

    def test_nms_of_nothing(self) -> None:
        assert nms(np.zeros((0, 4)), np.zeros(0), threshold=0.5).tolist() == []


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_crops_of_a_thin_image_have_pixels(size: tuple[int, int]) -> None:
    height, width = size
    covered = np.zeros(size, np.bool_)
    for (x0, y0, x1, y1), layer in crop_boxes(size, layers=2, overlap_ratio=512 / 1500):
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        covered[y0:y1, x0:x1] |= layer > 0
    assert covered.all()
