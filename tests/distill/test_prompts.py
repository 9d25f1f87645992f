from __future__ import annotations

import numpy as np
import pytest
import torch

from samedge.distill.prompts import (
    PromptConfig,
    boxes_from_masks,
    central_point,
    central_points,
    first_prompts,
    jitter_boxes,
    next_clicks,
    random_points,
    refine_prompts,
)
from samedge.pixels import metrics

SIZE = 64


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _masks(rows: int, *, seed: int = 0) -> torch.Tensor:
    """(rows, SIZE, SIZE) uint8 blobs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    masks = []
    for _ in range(rows):
        cy, cx = rng.uniform(12, SIZE - 12, 2)
        ry, rx = rng.uniform(3, 11, 2)
        blob = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
        masks.append(blob & (rng.random((SIZE, SIZE)) > 0.02))
    return torch.from_numpy(np.stack(masks).astype(np.uint8))


def _logits(masks: torch.Tensor) -> torch.Tensor:
    """(R, SIZE / 4, SIZE / 4) logits of a prediction that equals the masks as far as they can."""
    coarse = torch.nn.functional.avg_pool2d(masks[:, None].float(), 4)[:, 0]
    return (coarse - 0.5) * 20


def test_boxes_agree_with_the_evaluator() -> None:
    masks = _masks(20)
    masks[3] = 0
    boxes = boxes_from_masks(masks)
    for mask, box in zip(masks.bool().numpy(), boxes.tolist(), strict=True):
        assert tuple(box) == (metrics.bounding_box(mask) or (0, 0, 0, 0))


def test_central_points_agree_with_the_evaluator() -> None:
    masks = _masks(30)
    masks[0, 20:, 20:] = 1  # touches the border, which is an edge
    masks[1] = 0
    masks[1, 5, 7] = 1
    points = central_points(masks).tolist()
    for mask, point in zip(masks.bool().numpy(), points, strict=True):
        assert tuple(point) == metrics.center_point(mask)


def test_central_point_of_a_ring_lies_in_it() -> None:
    y, x = np.mgrid[-30:30, -30:30] + 0.5
    ring = (np.hypot(y, x) < 25) & (np.hypot(y - 3, x) > 12)
    px, py = central_point(ring)
    assert ring[py, px]
    assert py < 30, "the thick side"
    assert central_point(np.zeros((4, 5), bool)) == (0, 0)


def test_random_points_are_uniform_over_the_region() -> None:
    region = torch.zeros(1, 6, 9, dtype=torch.bool)
    region[0, 1, 2] = region[0, 1, 8] = region[0, 5, 0] = region[0, 3, 4] = True
    points = random_points(region.expand(4000, -1, -1), _generator())
    assert region[0][points[:, 1], points[:, 0]].all()
    counts = torch.unique(points, dim=0, return_counts=True)[1]
    assert counts.tolist() == pytest.approx([1000] * 4, abs=120)


def test_random_points_of_empty_and_full_regions() -> None:
    regions = torch.stack([torch.zeros(5, 5), torch.ones(5, 5)]).to(torch.uint8)
    points = torch.stack([random_points(regions, _generator(seed)) for seed in range(200)])
    assert not points[:, 0].any()
    assert points[:, 1].amin() == 0
    assert points[:, 1].amax() == 4


def test_box_noise_is_a_tenth_of_the_side_and_bounded() -> None:
    box = torch.tensor([[200.0, 300.0, 300.0, 340.0]]).repeat(5000, 1)
    config = PromptConfig()
    shift = jitter_boxes(box, _generator(), image_size=1024, config=config) - box
    assert shift.abs().max() <= 20
    assert shift.mean(0).abs().max() < 0.5
    # 4.75% of a normal distribution lie beyond two deviations, where width is clipped at 20 px
    assert shift[:, 0].std().item() == pytest.approx(10 * 0.959, rel=0.05)
    assert shift[:, 1].std().item() == pytest.approx(4, rel=0.05)


def test_jittered_boxes_stay_in_the_image_and_are_not_empty() -> None:
    edge = torch.tensor([[0.0, 0.0, 64.0, 64.0], [10.0, 10.0, 11.0, 11.0]]).repeat(500, 1)
    moved = jitter_boxes(
        edge, _generator(), image_size=SIZE, config=PromptConfig(box_noise=1, box_noise_limit=1)
    )
    assert moved.min() >= 0
    assert moved.max() <= SIZE
    assert ((moved[:, 2:] - moved[:, :2]) >= 1).all()


def test_first_prompts_are_half_boxes_and_points_inside() -> None:
    masks = _masks(400)
    prompts = first_prompts(masks, _generator())
    assert prompts.point_coords.shape == (400, 2, 2)
    assert prompts.mask_input.shape == (400, 1, SIZE // 4, SIZE // 4)
    assert not prompts.has_mask_input.any()
    assert not prompts.mask_input.any()
    labels = prompts.point_labels
    boxed = labels[:, 0] == 2
    assert boxed.float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert (labels[boxed] == torch.tensor([2.0, 3.0])).all()
    assert (labels[~boxed] == torch.tensor([1.0, -1.0])).all()
    assert torch.equal(prompts.ambiguous, ~boxed)
    points = prompts.point_coords[~boxed, 0].long()
    assert masks[~boxed][torch.arange(len(points)), points[:, 1], points[:, 0]].all()
    central = (points == central_points(masks[~boxed])).all(1).float().mean().item()
    assert central == pytest.approx(0.5, abs=0.1)


def test_an_empty_mask_gets_ignored_tokens() -> None:
    masks = _masks(6)
    masks[2] = 0
    for share in (0.0, 1.0):
        prompts = first_prompts(masks, _generator(), config=PromptConfig(box_share=share))
        assert prompts.point_labels[2].tolist() == [-2, -2]
        assert not prompts.ambiguous[2]
        after = refine_prompts(prompts, _logits(masks) + 9, masks=masks, generator=_generator())
        assert after.point_labels[2].tolist() == [-2, -2, -2]
        assert after.has_mask_input.tolist() == [1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("central", [0.0, 1.0])
def test_clicks_fall_on_errors_with_the_right_label(stride: int, central: float) -> None:
    masks = torch.zeros(200, SIZE, SIZE, dtype=torch.uint8)
    masks[:, 16:48, 8:40] = 1
    predicted = torch.zeros_like(masks)
    predicted[:, 16:48, 24:52] = 1  # misses the left half, exceeds by 12 of 16 on the right
    config = PromptConfig(click_stride=stride, click_central_share=central)
    coords, labels = next_clicks(_logits(predicted), masks, generator=_generator(), config=config)
    x, y = coords[:, 0], coords[:, 1]
    slack = 2  # bilinear upsampling of the coarse logits
    missed = (x >= 8) & (x < 24 + slack) & (y >= 16) & (y < 48)
    excess = (x >= 40) & (x < 52 + slack) & (y >= 16 - slack) & (y < 48 + slack)
    assert (missed == (labels == 1)).all()
    assert (excess == (labels == 0)).all()
    if central:
        assert (labels == 1).all(), "the missed part is larger"
        assert ((x - 15.5).abs() <= stride + 1).all()
    else:
        assert missed.float().mean().item() == pytest.approx(16 / 28, abs=0.1)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_a_click_names_the_pixel_that_was_looked_at(stride: int) -> None:
    masks = torch.zeros(40, SIZE, SIZE, dtype=torch.uint8)
    masks[:, stride // 2 :: stride, stride // 2 :: stride] = 1
    logits = torch.full((40, SIZE // 4, SIZE // 4), -5.0)
    config = PromptConfig(click_stride=stride)
    coords, labels = next_clicks(logits, masks, generator=_generator(), config=config)
    x, y = coords.long().unbind(1)
    assert masks[torch.arange(40), y, x].all()
    assert (labels == 1).all()


def test_central_clicks_agree_with_the_evaluator() -> None:
    masks, others = _masks(30, seed=1), _masks(30, seed=2)
    config = PromptConfig(click_stride=1, click_central_share=1)
    logits = _logits(others)
    coords, labels = next_clicks(logits, masks, generator=_generator(), config=config)
    fine = torch.nn.functional.interpolate(
        logits[:, None], size=(SIZE, SIZE), mode="bilinear", align_corners=False
    )[:, 0]
    for k in range(30):
        expected = metrics.corrective_click(masks[k].bool().numpy(), (fine[k] > 0).numpy())
        assert (*coords[k].tolist(), labels[k].item()) == expected


def test_a_perfect_prediction_gets_an_ignored_click() -> None:
    masks = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    logits = torch.full((3, SIZE // 4, SIZE // 4), -5.0)
    _, labels = next_clicks(logits, masks, generator=_generator())
    assert labels.tolist() == [-2, -2, -2]


def test_no_click_falls_on_padding() -> None:
    masks = torch.zeros(50, SIZE, SIZE, dtype=torch.uint8)
    masks[:, 4:8, 4:8] = 1
    everywhere = torch.full((50, SIZE // 4, SIZE // 4), 5.0)
    valid_size = torch.tensor([[31, 64]]).expand(50, 2)
    for stride in (1, 2, 3):
        config = PromptConfig(click_stride=stride)
        coords, labels = next_clicks(
            everywhere, masks, generator=_generator(), valid_size=valid_size, config=config
        )
        assert (labels == 0).all()
        assert coords[:, 1].max() < 31
        assert coords[:, 0].max() > 40


def test_refined_prompts_add_a_click_and_the_logits() -> None:
    masks = _masks(8)
    first = first_prompts(masks, _generator())
    logits = torch.randn(8, SIZE // 4, SIZE // 4, requires_grad=True)
    second = refine_prompts(first, logits, masks=masks, generator=_generator())
    assert second.point_coords.shape == (8, 3, 2)
    assert torch.equal(second.point_labels[:, :2], first.point_labels)
    assert torch.equal(second.mask_input[:, 0], logits)
    assert not second.mask_input.requires_grad
    assert second.has_mask_input.all()
    assert not second.ambiguous.any()
    third = refine_prompts(second, logits, masks=masks, generator=_generator())
    assert third.point_labels.shape == (8, 4)


def test_the_generator_decides_everything() -> None:
    masks, logits = _masks(12), _logits(_masks(12, seed=9))

    def run(seed: int) -> torch.Tensor:
        generator = _generator(seed)
        prompts = first_prompts(masks, generator)
        return refine_prompts(prompts, logits, masks=masks, generator=generator).point_coords

    torch.manual_seed(5)
    once = run(0)
    torch.manual_seed(6)
    assert torch.equal(run(0), once)
    assert not torch.equal(run(1), once)
