"""Resident training: geometry, prompts and losses on tensors small enough for a processor."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from samedge.distill.resident.clicks import (
    PromptPlan,
    first_prompts,
    region_points,
    solid,
    squared_distances,
    windows,
)
from samedge.distill.resident.objectives import mask_terms, quality_terms, ranking_terms
from samedge.distill.resident.passes import join_rows, split_rows
from samedge.distill.resident.scenes import resampled, sampling_grid
from samedge.distill.resident.train import rate
from samedge.distill.resident.views import _affine
from samedge.types import BOX_TOP_LEFT, FOREGROUND


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _blobs(rows: int, side: int) -> torch.Tensor:
    masks = torch.zeros(rows, side, side, dtype=torch.bool)
    for row in range(rows):
        masks[row, 4 + row : 20 + 2 * row, 8 : 30 + row] = True
    return masks


def test_distances_are_those_of_opencv() -> None:
    window = torch.rand(5, 64, 64, generator=_generator()) < 0.9
    for row, found in zip(window, squared_distances(window), strict=True):
        framed = cv2.copyMakeBorder(
            row.numpy().astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0
        )
        wanted = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] ** 2
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-3)


def test_points_lie_in_their_region_and_central_ones_in_its_middle() -> None:
    regions = _blobs(6, 64)
    for central in (True, False):
        points, filled = region_points(regions, torch.full((6,), central), generator=_generator())
        assert filled.all()
        for region, (x, y) in zip(regions, points.floor().long().tolist(), strict=True):
            assert region[y, x]
    points, _ = region_points(regions[:1], torch.ones(1).bool(), generator=_generator())
    assert abs(points[0, 1].item() - 12) < 1


def test_an_empty_region_says_so() -> None:
    _, _, filled = windows(torch.zeros(2, 16, 16, dtype=torch.bool))
    assert not filled.any()


def test_half_of_the_rows_get_one_click_and_boxes_fit_their_masks() -> None:
    masks = _blobs(12, 128)
    coverage = torch.nn.functional.avg_pool2d(masks[:, None].float(), 2)
    plan = PromptPlan(kinds=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0), box_noise=0.0)
    prompts = first_prompts(masks, coverage, group=6, plan=plan, generator=_generator())
    boxes, clicks = split_rows(prompts.labels, 6)
    assert (boxes[:, 0] == BOX_TOP_LEFT).all()
    assert ((clicks == FOREGROUND).sum(1) == 1).all()
    assert (clicks >= 0).sum() == len(clicks)
    assert prompts.coords[0, :2].flatten().tolist() == [8, 4, 30, 20]


def test_rows_come_back_in_order() -> None:
    rows = torch.arange(12)
    torch.testing.assert_close(join_rows(*split_rows(rows, 6), group=6), rows)


def test_solid_regions_of_thin_masks_are_not_empty() -> None:
    coverage = torch.zeros(1, 1, 8, 8)
    coverage[..., 3, 2:6] = 0.25
    assert solid(coverage).sum() == 4


def test_a_perfect_mask_costs_nothing_and_a_wrong_one_much() -> None:
    coverage = _blobs(2, 64)[:, None].float()
    inside = torch.ones_like(coverage)
    good, iou = mask_terms((coverage * 2 - 1) * 20, coverage, inside=inside, focal_weight=0.3)
    bad, _ = mask_terms((1 - coverage * 2) * 20, coverage, inside=inside, focal_weight=0.3)
    assert good.max() < 1e-3
    torch.testing.assert_close(iou, torch.ones_like(iou))
    assert bad.min() > 0.9


def test_quality_is_best_where_it_is_right_and_ranking_where_the_order_is() -> None:
    iou = torch.tensor([[0.2, 0.6, 0.9]])
    assert quality_terms(iou, iou).abs().max() < 1e-5
    assert (quality_terms(iou.flip(1), iou)[:, [0, 2]] > 0.1).all()
    assert ranking_terms(iou, iou, temperature=0.06) < 0.02
    assert ranking_terms(iou.flip(1), iou, temperature=0.06) > 0.5


def test_a_view_of_the_whole_photo_is_the_photo() -> None:
    photo = torch.rand(1, 3, 64, 64, generator=_generator())
    whole = torch.tensor([[64.0, 64.0]])
    affine = _affine(whole * 0, whole, whole * 0, whole, torch.tensor([False]), torch.zeros(1))
    torch.testing.assert_close(
        resampled(photo, sampling_grid(affine, 64, source=64)), photo, atol=1e-4, rtol=0
    )
    affine = _affine(whole * 0, whole, whole * 0, whole, torch.tensor([True]), torch.zeros(1))
    drawn = resampled(photo, sampling_grid(affine, 64, source=64))
    torch.testing.assert_close(drawn, photo.flip(3), atol=1e-4, rtol=0)


def test_the_rate_ends_at_zero_with_the_time() -> None:
    assert rate(10, 100, warmup=10) == 1
    assert rate(100, 100, warmup=10) == 0
    assert rate(130, 100, warmup=10) == 0
    assert 0 < rate(0, 100, warmup=10) < 0.1
