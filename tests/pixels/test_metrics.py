from __future__ import annotations

import numpy as np
import pytest

from samedge.pixels import metrics


def _blob(seed: int, *, shape: tuple[int, int] | None = None) -> np.ndarray:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(seed)
    size = shape or tuple(int(n) for n in rng.integers(1, 220, size=2))
    return np.asarray(ndimage.gaussian_filter(rng.normal(size=size), rng.uniform(0, 12)) > 0)


def _rectangle(size: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


class TestMaskIou:
    def test_paper_and_pencil(self) -> None:
        first, second = _rectangle((10, 10), 0, 0, 4, 4), _rectangle((10, 10), 2, 2, 6, 6)
        assert metrics.mask_iou(first, second) == pytest.approx(4 / 28)

    def test_disjoint_equal_and_empty(self) -> None:
        mask, empty = _rectangle((8, 8), 1, 1, 5, 5), np.zeros((8, 8), bool)
        assert metrics.mask_iou(mask, mask) == 1.0
        assert metrics.mask_iou(mask, empty) == 0.0
        assert metrics.mask_iou(empty, empty) == 1.0

    @pytest.mark.parametrize("seed", range(5))
    def test_agrees_with_pycocotools(self, seed: int) -> None:
        coco = pytest.importorskip("pycocotools.mask")
        first, second = _blob(seed, shape=(60, 90)), _blob(seed + 100, shape=(60, 90))
        rles = [coco.encode(np.asfortranarray(m.astype(np.uint8))) for m in (first, second)]
        expected = coco.iou(rles[:1], rles[1:], [0])[0, 0]
        assert metrics.mask_iou(first, second) == pytest.approx(expected, abs=1e-12)


class TestBoundary:
    @pytest.mark.parametrize("seed", range(12))
    def test_equals_the_authors_definition_with_opencv(self, seed: int) -> None:
        """Erosion by a 3 x 3 square, repeated, on the mask framed by one background pixel."""
        cv2 = pytest.importorskip("cv2")
        mask = _blob(seed)
        height, width = mask.shape
        times = max(1, round(0.02 * float(np.hypot(height, width))))
        framed = np.pad(mask.astype(np.uint8), 1)
        inner = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=times)[1:-1, 1:-1]
        assert np.array_equal(metrics.boundary(mask), mask & (inner == 0))

    def test_paper_and_pencil(self) -> None:
        # The diagonal of 60 x 80 is 100, so the band is 2 px: a 20 px square has 400 - 256 = 144.
        square = _rectangle((60, 80), 10, 10, 30, 30)
        assert metrics.boundary(square).sum() == 144
        # A solid square against the same with a hole in its middle, which the first band misses.
        hollow = square & ~_rectangle((60, 80), 19, 19, 21, 21)
        around_hole = 6 * 6 - 2 * 2
        assert metrics.boundary_iou(square, hollow) == pytest.approx(144 / (144 + around_hole))

    def test_thin_objects_are_all_boundary(self) -> None:
        first, second = _rectangle((60, 80), 5, 5, 70, 8), _rectangle((60, 80), 5, 6, 70, 9)
        assert metrics.boundary_iou(first, second) == metrics.mask_iou(first, second)

    def test_the_image_border_is_an_edge(self) -> None:
        assert metrics.boundary(np.ones((60, 80), bool)).sum() == 60 * 80 - 56 * 76

    def test_empty(self) -> None:
        assert not metrics.boundary(np.zeros((5, 5), bool)).any()


class TestDistance:
    @pytest.mark.parametrize("seed", range(12))
    def test_equals_scipy(self, seed: int) -> None:
        ndimage = pytest.importorskip("scipy.ndimage")
        mask = _blob(seed)
        expected = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] ** 2
        assert np.array_equal(metrics.squared_edge_distance(mask), np.rint(expected))

    def test_one_pixel_and_nothing(self) -> None:
        mask = np.zeros((3, 4), bool)
        assert not metrics.squared_edge_distance(mask).any()
        mask[1, 2] = True
        assert metrics.squared_edge_distance(mask)[1, 2] == 1


class TestClicks:
    def test_center_of_a_square_and_of_nothing(self) -> None:
        assert metrics.center_point(_rectangle((20, 30), 10, 5, 15, 10)) == (12, 7)
        assert metrics.center_point(np.zeros((4, 4), bool)) is None

    def test_center_lies_in_the_thick_part(self) -> None:
        mask = _rectangle((40, 60), 0, 0, 60, 3) | _rectangle((40, 60), 40, 20, 51, 31)
        assert metrics.center_point(mask) == (45, 25)

    @pytest.mark.parametrize("seed", range(8))
    def test_agrees_with_the_trainer(self, seed: int) -> None:
        pytest.importorskip("torch")
        pytest.importorskip("cv2")
        from samedge.distill.prompts import central_point

        mask = _blob(seed)
        expected = central_point(mask) if mask.any() else None
        distance = metrics.squared_edge_distance(mask)
        ours = metrics.center_point(mask)
        if ours is None or expected is None:
            assert ours is expected is None
        else:
            assert distance[ours[::-1]] == distance[expected[::-1]]

    def test_corrective_click_goes_to_the_larger_error(self) -> None:
        truth = _rectangle((30, 60), 10, 10, 30, 20)
        shifted = _rectangle((30, 60), 16, 10, 30, 20)
        assert metrics.corrective_click(truth, shifted) == (12, 12, 1)
        too_much = truth | _rectangle((30, 60), 40, 0, 49, 9)
        assert metrics.corrective_click(truth, too_much) == (44, 4, 0)
        assert metrics.corrective_click(truth, truth) is None

    def test_a_tie_goes_to_what_is_missing(self) -> None:
        truth, predicted = _rectangle((9, 9), 0, 0, 3, 3), _rectangle((9, 9), 6, 6, 9, 9)
        assert metrics.corrective_click(truth, predicted) == (1, 1, 1)


class TestIntervals:
    def test_interval_brackets_the_mean_and_repeats(self) -> None:
        values = np.random.default_rng(0).normal(0.6, 0.1, 400).tolist()
        groups = [i // 4 for i in range(400)]
        low, high = metrics.bootstrap_mean(values, groups) or (0, 0)
        assert low < np.mean(values) < high
        assert (low, high) == metrics.bootstrap_mean(values, groups)
        # Independent instances: about the standard error times 2 x 1.96.
        assert high - low == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.2)

    def test_groups_widen_the_interval(self) -> None:
        values = np.repeat(np.random.default_rng(0).normal(0.6, 0.1, 40), 10).tolist()
        grouped = metrics.bootstrap_mean(values, [i // 10 for i in range(400)]) or (0, 0)
        alone = metrics.bootstrap_mean(values, list(range(400))) or (0, 0)
        assert grouped[1] - grouped[0] > 2.5 * (alone[1] - alone[0])

    def test_one_image_has_no_interval(self) -> None:
        assert metrics.bootstrap_mean([0.1, 0.9], ["a", "a"]) is None

    def test_ratio_of_pairs(self) -> None:
        rng = np.random.default_rng(0)
        machine = rng.lognormal(0, 0.3, 30)  # what disturbs both sides of a pair alike
        slow = (10 * machine * rng.lognormal(0, 0.02, 30)).tolist()
        fast = (5 * machine * rng.lognormal(0, 0.02, 30)).tolist()
        ratio, low, high = metrics.bootstrap_ratio(slow, fast) or (0, 0, 0)
        assert ratio == pytest.approx(2, rel=0.02)
        assert 1.9 < low < ratio < high < 2.1
        inverse = metrics.bootstrap_ratio(fast, slow) or (0, 0, 0)
        assert inverse[0] == pytest.approx(1 / ratio)

    def test_few_pairs_have_no_ratio(self) -> None:
        assert metrics.bootstrap_ratio([1, 2, 3, 4], [1, 2, 3, 4]) is None


class TestLatency:
    @pytest.mark.parametrize(("rank", "needed"), [(90, 64), (95, 130), (99, 662)])
    def test_percentiles_wait_for_their_count(self, rank: int, needed: int) -> None:
        samples = [float(i) for i in range(needed)]
        assert metrics.percentile(samples[:-1], rank) is None
        assert metrics.percentile(samples, rank) == pytest.approx(np.percentile(samples, rank))

    def test_median_of_one_and_of_none(self) -> None:
        assert metrics.percentile([3.0], 50) == 3.0
        assert metrics.percentile([], 50) is None

    def test_outliers(self) -> None:
        assert metrics.count_outliers([10.0] * 5 + [11.0] * 5 + [50.0, 1.0]) == 2
        assert metrics.count_outliers([1.0, 100.0]) == 0


@pytest.mark.parametrize(
    ("area", "name"),
    [(1023.9, "small"), (1024, "medium"), (9215.9, "medium"), (9216, "large")],
)
def test_size_classes(area: float, name: str) -> None:
    assert metrics.size_class(area) == name
