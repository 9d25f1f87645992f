"""Prompts become the decoder's tensors by SAM's rules."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.errors import PromptError
from samedge.pixels.prompts import (
    CPU_BATCH,
    decoder_feeds,
    fitting_bucket,
    token_count,
    usual_shapes,
)
from samedge.types import Prompt

SIZE = (300, 400)
POINTS = Prompt(points=[[40, 30], [80, 60]], labels=[1, 0])
BOX = Prompt(box=[40, 30, 80, 60])
BOTH = Prompt(points=[[50, 50]], box=[40, 30, 80, 60])
MASK = Prompt(mask=np.ones((16, 16), np.float32))


def labels(*prompts: Prompt, bucket: tuple[int, int] | None = None) -> list[list[float]]:
    feeds = decoder_feeds(prompts, original_size=SIZE, target_length=64, bucket=bucket)
    assert {array.dtype for array in feeds.values()} == {np.dtype(np.float32)}
    result: list[list[float]] = feeds["point_labels"].tolist()
    return result


def test_points_get_the_padding_point_and_boxes_do_not() -> None:
    assert labels(POINTS) == [[1, 0, -1]]
    assert labels(BOX) == [[2, 3]]
    assert labels(BOTH) == [[1, 2, 3]]


def test_lone_mask_has_no_point_at_all() -> None:
    assert labels(MASK) == [[-2]]
    assert labels(MASK, POINTS) == [[-2, -2, -2], [1, 0, -1]]


def test_short_prompts_are_padded_and_empty_rows_ignored() -> None:
    assert labels(POINTS, BOX) == [[1, 0, -1], [2, 3, -1]]
    assert labels(BOX, bucket=(2, 4)) == [[2, 3, -1, -1], [-2, -2, -2, -2]]


@pytest.mark.parametrize("prompt", [Prompt(points=[[40, 30]]), BOX])
@pytest.mark.parametrize("batch", [1, CPU_BATCH])
def test_a_click_and_a_box_have_usual_shapes(prompt: Prompt, batch: int) -> None:
    feeds = decoder_feeds([prompt] * batch, original_size=SIZE, target_length=64)
    assert {name: array.shape for name, array in feeds.items()} in usual_shapes(64)


def test_coordinates_are_in_the_input_frame() -> None:
    feeds = decoder_feeds([BOTH], original_size=SIZE, target_length=64)
    expected = np.array([[50, 50], [40, 30], [80, 60]]) * 64 / 400
    np.testing.assert_allclose(feeds["point_coords"][0], expected, rtol=1e-6)


def test_same_tensors_as_sams_own_predictor() -> None:
    """Coordinates of ``SamPredictor`` for an image whose sides do not divide."""
    reference = pytest.importorskip("segment_anything.utils.transforms")
    size, side = (333, 517), 1024
    points = np.array([[13.0, 300.0], [516.0, 1.0]])
    feeds = decoder_feeds([Prompt(points=points)], original_size=size, target_length=side)
    expected = reference.ResizeLongestSide(side).apply_coords(points, size)
    np.testing.assert_allclose(feeds["point_coords"][0, :2], expected, rtol=1e-6)


def test_mask_inputs_are_flagged_by_row() -> None:
    feeds = decoder_feeds([POINTS, MASK], original_size=SIZE, target_length=64)
    assert feeds["has_mask_input"].tolist() == [0, 1]
    assert not feeds["mask_input"][0].any()
    assert (feeds["mask_input"][1] == 1).all()


@pytest.mark.parametrize("prompt", [POINTS, BOX, BOTH, MASK])
def test_token_count_is_the_row_length(prompt: Prompt) -> None:
    assert len(labels(prompt)[0]) == token_count(prompt)


@pytest.mark.parametrize(
    ("batch", "length", "expected"),
    [
        (1, 2, (1, 2)),
        (1, 3, (1, 8)),
        (2, 2, (8, 2)),
        (16, 2, (8, 2)),
        (40, 2, (8, 2)),
        (5, 7, (4, 8)),
    ],
)
def test_smallest_bucket_that_holds_most(
    batch: int, length: int, expected: tuple[int, int]
) -> None:
    buckets = [(1, 2), (1, 8), (4, 8), (8, 2)]
    assert fitting_bucket(buckets, batch, length) == expected


def test_no_buckets_no_limit() -> None:
    assert fitting_bucket([], 1000, 1000) is None


def test_no_bucket_is_long_enough() -> None:
    with pytest.raises(PromptError, match=r"needs 9 points.*at most 8"):
        fitting_bucket([(1, 2), (1, 8)], 1, 9)
