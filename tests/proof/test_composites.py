"""Pictures with exact masks: the same ones every time, and exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from samedge.pixels import metrics
from samedge.proof.composites import _laid, composites, reduced
from samedge.types import Array


def photos() -> list[Array]:
    """Flat colours far apart: what was laid on can be told from what lies under it."""
    return [np.full((90, 130, 3), value, np.uint8) for value in (10, 245)]


def test_the_same_seed_gives_the_same_pictures() -> None:
    first, again = (list(itertools.islice(composites(photos(), seed=3), 4)) for _ in range(2))
    for (picture, instances), (other, others) in zip(first, again, strict=True):
        np.testing.assert_array_equal(picture, other)
        assert [i.box for i in instances] == [i.box for i in others]
    different = next(composites(photos(), seed=4))[0]
    assert different.shape != first[0][0].shape or not np.array_equal(different, first[0][0])


def test_objects_are_where_their_masks_say() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        canvas = np.zeros((90, 120, 3), np.float32)
        white = np.full((40, 30, 3), 255.0, np.float32)
        alpha = np.zeros((40, 30), np.float32)
        alpha[5:35, 8:22] = 1.0
        mask = _laid(random, canvas, white, alpha)
        np.testing.assert_array_equal(mask, canvas[..., 0] > 127)
        assert mask.any()


def test_an_object_like_its_ground_is_made_to_differ() -> None:
    random = np.random.default_rng(0)
    for value in (0.0, 128.0, 255.0):
        canvas = np.full((90, 120, 3), value, np.float32)
        mask = _laid(random, canvas, canvas[:40, :30].copy(), np.ones((40, 30), np.float32))
        assert np.abs(canvas[mask] - value).mean() >= 25
        assert (canvas[~mask] == value).all()
        assert canvas.min() >= 0
        assert canvas.max() <= 255


def test_instances_describe_their_masks() -> None:
    for _, instances in itertools.islice(composites(photos(), seed=1), 8):
        for instance in instances:
            box = metrics.bounding_box(instance.mask)
            assert box is not None
            assert instance.box == tuple(map(float, box))
            assert instance.area == instance.mask.sum() >= 64


def test_masks_of_one_picture_do_not_overlap() -> None:
    for picture, instances in itertools.islice(composites(photos(), seed=2), 8):
        assert picture.dtype == np.uint8
        assert max(picture.shape[:2]) == 512
        assert 1 <= len(instances) <= 7
        covered = np.zeros(picture.shape[:2], int)
        for instance in instances:
            covered += instance.mask
        assert covered.max() == 1


def test_sizes_are_of_all_kinds() -> None:
    areas = [
        instance.area
        for _, instances in itertools.islice(composites(photos(), seed=0), 40)
        for instance in instances
    ]
    kinds = {metrics.size_class(area) for area in areas}
    assert kinds == {"small", "medium", "large"}


@pytest.mark.parametrize("shape", [(3000, 200, 3), (40, 60, 3)])
def test_large_photos_are_reduced_and_small_ones_are_not_enlarged(
    shape: tuple[int, int, int],
) -> None:
    found = reduced(np.zeros(shape, np.uint8))
    assert max(found.shape) == min(max(shape), 1024)


def test_a_photo_of_one_pixel_is_no_problem() -> None:
    picture, instances = next(composites([np.zeros((1, 1, 3), np.uint8)], seed=0))
    assert picture.shape == (512, 512, 3)
    assert instances


@pytest.mark.parametrize("size", [(4, 2000), (2000, 4), (60, 2000), (1, 1), (1, 700)])
def test_strips_hold_objects_too(size: tuple[int, int]) -> None:
    """Of a line camera's strips no object fit across, and the search for one had no end."""
    strips = [np.full((*size, 3), value, np.uint8) for value in (10, 245)]
    for picture, instances in itertools.islice(composites(strips), 3):
        assert min(picture.shape[:2]) >= 512 // 8
        assert instances
