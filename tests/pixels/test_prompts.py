"""Prompts become the decoder's tensors by SAM's rules."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.errors import PromptError
from samedge.pixels.frames import SQUARE, Frame
from samedge.pixels.prompts import (
    CPU_BATCH,
    Bucket,
    batches,
    buckets_from_shapes,
    decoder_feeds,
    feeds_of,
    fitting_bucket,
    row_from_prompt,
    rows_from_prompts,
    usual_shapes,
)
from samedge.types import Prompt

SIZE = (300, 400)
FRAME = Frame(target_length=64)
VIEW = FRAME.view(SIZE)
POINTS = Prompt(points=[[40, 30], [80, 60]], labels=[1, 0])
BOX = Prompt(box=[40, 30, 80, 60])
BOTH = Prompt(points=[[50, 50]], box=[40, 30, 80, 60])
MASK = Prompt(mask=np.ones((16, 16), np.float32))


def labels(*prompts: Prompt, bucket: tuple[int, int] | None = None) -> list[list[float]]:
    feeds = feeds_of(prompts, VIEW, bucket=bucket)
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


def test_a_lone_mask_that_shows_nothing_is_refused() -> None:
    nothing = np.zeros(VIEW.original_size, bool)
    with pytest.raises(PromptError, match="The mask shows nothing, and comes alone: give a point"):
        row_from_prompt(Prompt(mask=nothing), VIEW)
    assert row_from_prompt(Prompt([[3, 4]], mask=nothing), VIEW).mask is not None


def test_a_lone_mask_of_the_image_gets_its_own_box() -> None:
    mask = np.zeros(SIZE, np.bool_)
    mask[30:60, 40:80] = True
    lone = row_from_prompt(Prompt(mask=mask), VIEW)
    assert lone.labels.tolist() == [2, 3]
    assert np.array_equal(lone.coords, row_from_prompt(BOX, VIEW).coords)
    part = FRAME.view(SIZE, region=(50, 20, 90, 50))
    cut = row_from_prompt(Prompt(mask=mask), part)
    assert np.array_equal(cut.coords, row_from_prompt(Prompt(box=[50, 30, 80, 50]), part).coords)
    without_boxes = row_from_prompt(Prompt(mask=mask), VIEW, kinds=("point", "mask"))
    beside = row_from_prompt(Prompt(mask=np.roll(mask, 60, axis=0)), part)
    assert without_boxes.labels.tolist() == beside.labels.tolist() == [-2]
    clicked = row_from_prompt(Prompt(points=[[50, 50]], mask=mask), VIEW)
    assert clicked.labels.tolist() == [1, -1], "with a click the mask needs no box"


def test_short_prompts_are_padded_and_empty_rows_ignored() -> None:
    assert labels(POINTS, BOX) == [[1, 0, -1], [2, 3, -1]]
    assert labels(BOX, bucket=(2, 4)) == [[2, 3, -1, -1], [-2, -2, -2, -2]]


@pytest.mark.parametrize("prompt", [Prompt(points=[[40, 30]]), BOX])
@pytest.mark.parametrize("batch", [1, CPU_BATCH])
def test_a_click_and_a_box_have_usual_shapes(prompt: Prompt, batch: int) -> None:
    feeds = feeds_of([prompt] * batch, VIEW)
    assert {name: array.shape for name, array in feeds.items()} in usual_shapes(FRAME)


def test_coordinates_are_in_the_input_frame() -> None:
    feeds = feeds_of([BOTH], VIEW)
    expected = np.array([[50, 50], [40, 30], [80, 60]]) * 64 / 400
    np.testing.assert_allclose(feeds["point_coords"][0], expected, rtol=1e-6)


def test_same_tensors_as_sams_own_predictor() -> None:
    """Coordinates of ``SamPredictor`` for an image whose sides do not divide."""
    reference = pytest.importorskip("segment_anything.utils.transforms")
    size, side = (333, 517), 1024
    points = np.array([[13.0, 300.0], [516.0, 1.0]])
    feeds = feeds_of([Prompt(points=points)], Frame(target_length=side).view(size))
    expected = reference.ResizeLongestSide(side).apply_coords(points, size)
    np.testing.assert_allclose(feeds["point_coords"][0, :2], expected, rtol=1e-6)


def test_mask_inputs_are_flagged_by_row() -> None:
    feeds = feeds_of([POINTS, MASK], VIEW)
    assert feeds["has_mask_input"].tolist() == [0, 1]
    assert not feeds["mask_input"][0].any()
    assert (feeds["mask_input"][1] == 1).all()


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
    assert fitting_bucket(buckets, batch=batch, length=length) == expected


def test_no_buckets_no_limit() -> None:
    assert fitting_bucket([], batch=1000, length=1000) is None


def test_no_bucket_is_long_enough() -> None:
    with pytest.raises(PromptError, match=r"needs 9 points.*at most 8"):
        fitting_bucket([(1, 2), (1, 8)], length=9)


def test_a_box_in_shares_of_the_image_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    rows_from_prompts([Prompt(box=[0.1, 0.2, 0.9, 1.0])], VIEW)
    assert "lies within the first pixel" in caplog.text
    caplog.clear()
    rows_from_prompts([Prompt(box=[0.1, 0.2, 1.5, 1.0]), BOX], VIEW)
    assert not caplog.text


def test_error_names_the_index_in_the_batch() -> None:
    outside = Prompt(box=[500, 10, 600, 20])
    with pytest.raises(PromptError, match=r"^Prompt 1 of 3: Box .* wholly outside"):
        rows_from_prompts([BOX, outside, POINTS], VIEW)
    with pytest.raises(PromptError, match=r"^Box"):
        rows_from_prompts([outside], VIEW)
    with pytest.raises(PromptError, match=r"^Prompt 2 of 3: .*needs 3 points"):
        rows_from_prompts([BOX, BOX, POINTS], VIEW, buckets=[(4, 2)])


def test_what_does_not_fit_is_skipped_on_demand(caplog: pytest.LogCaptureFixture) -> None:
    outside = Prompt(points=[[401, 1]])
    rows = rows_from_prompts([BOX, outside, POINTS], VIEW, skip=True)
    assert [row is None for row in rows] == [False, True, False]
    assert "Prompt 1 of 3: skipped: Point" in caplog.text


@pytest.mark.parametrize(("prompt", "kind"), [(MASK, "mask"), (BOTH, "box"), (POINTS, "point")])
def test_kinds_that_the_model_does_not_understand(prompt: Prompt, kind: str) -> None:
    known = [other for other in ("point", "box", "mask") if other != kind]
    with pytest.raises(PromptError, match=f"has a {kind}, and this model understands {known[0]}"):
        rows_from_prompts([prompt], VIEW, kinds=known)


def test_square_frame_scales_each_axis_by_itself() -> None:
    feeds = feeds_of([BOTH], Frame(target_length=64, resize=SQUARE).view(SIZE))
    expected = np.array([[50, 50], [40, 30], [80, 60]]) * (64 / 400, 64 / 300)
    np.testing.assert_allclose(feeds["point_coords"][0], expected, rtol=1e-6)


def test_prompts_of_a_region_are_those_of_the_image() -> None:
    view = FRAME.view(SIZE, region=(30, 20, 94, 84))
    feeds = feeds_of([BOTH], view)
    expected = np.array([[50, 50], [40, 30], [80, 60]]) - (30, 20)
    np.testing.assert_allclose(feeds["point_coords"][0], expected, rtol=1e-6)
    with pytest.raises(PromptError, match=r"outside the region \[30, 20, 94, 84\] of the image"):
        feeds_of([Prompt(points=[[5, 5]])], view)
    with pytest.raises(PromptError, match="wholly outside the region"):
        feeds_of([Prompt(box=[200, 100, 300, 200])], view)


def test_logits_of_a_region_of_another_image_do_not_fit() -> None:
    side = FRAME.low_res_side
    logits = np.zeros((side, side), np.float32)
    strange = Prompt(points=[[40, 30]], mask=logits, region=(0, 0, SIZE[1] + 1, 5))
    with pytest.raises(PromptError, match="are of another image"):
        row_from_prompt(strange, VIEW)
    assert rows_from_prompts([strange], VIEW, skip=True) == [None]


def test_batches_are_cut_and_filled_up() -> None:
    rows = [row for row in rows_from_prompts([BOX] * 5, VIEW) if row is not None]

    def cut(buckets: list[Bucket], limit: int) -> list[tuple[int, Bucket | None]]:
        return [(len(part), bucket) for part, bucket in batches(rows, buckets=buckets, limit=limit)]

    assert cut([], 4) == [(4, None), (1, None)]
    assert cut([(1, 2), (2, 4)], 4) == [(2, (2, 4)), (2, (2, 4)), (1, (1, 2))]
    assert decoder_feeds(rows[:1], FRAME, bucket=(3, 4))["point_coords"].shape == (3, 4, 2)


def test_buckets_of_shapes() -> None:
    shapes = [{"point_coords": [4, 6, 2], "mask_input": [4, 1, 16, 16]}, {"other": [1]}]
    assert buckets_from_shapes(shapes) == ((4, 6),)
