from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from samedge.distill.losses import (
    LossConfig,
    MaskLosses,
    Regression,
    competing_tokens,
    dice_loss,
    features_loss,
    focal_loss,
    mask_coverage,
    mask_losses,
    thresholded_iou,
    valid_coverage,
)

EVERYWHERE = torch.ones(1, 1, 1, 1)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_valid_coverage_is_the_share_of_each_cell() -> None:
    coverage = valid_coverage(torch.tensor([[8, 6], [2, 8]]), 4, image_size=8)
    assert coverage.shape == (2, 1, 4, 4)
    assert coverage[0, 0].tolist() == [[1, 1, 1, 0]] * 4
    assert coverage[1, 0].tolist() == [[1, 1, 1, 1], *[[0, 0, 0, 0]] * 3]
    odd = valid_coverage(torch.tensor([[5, 3]]), 4, image_size=8)[0, 0]
    assert odd[:, 0].tolist() == [1, 1, 0.5, 0]
    assert odd[0].tolist() == [1, 0.5, 0, 0]
    assert odd[2, 1] == 0.25


@pytest.mark.parametrize(("size", "grid"), [(16, 4), (16, 16), (20, 5), (64, 4), (20, 8)])
def test_mask_coverage_is_the_mean_of_each_cell(size: int, grid: int) -> None:
    masks = (_random(3, size, size) > 0.3).to(torch.uint8)
    expected = F.interpolate(masks[:, None].float(), size=(grid, grid), mode="area")
    for given in (masks, masks.bool()):
        torch.testing.assert_close(mask_coverage(given, grid), expected)


def test_mask_coverage_of_full_cells_does_not_overflow() -> None:
    assert (mask_coverage(torch.ones(1, 60, 60, dtype=torch.uint8), 4) == 1).all()


@pytest.mark.parametrize("alpha", [None, 0.25, 0.6])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal_equals_torchvision_for_hard_targets(alpha: float | None, gamma: float) -> None:
    logits = 3 * _random(2, 4, 5, 5)
    targets = (_random(2, 1, 5, 5, seed=1) > 0).float()
    reference = sigmoid_focal_loss(
        logits, targets.expand_as(logits), alpha=-1 if alpha is None else alpha, gamma=gamma
    )
    ours = focal_loss(logits, targets, weight=torch.ones_like(targets), gamma=gamma, alpha=alpha)
    torch.testing.assert_close(ours, reference.mean((2, 3)))


def test_focal_by_hand() -> None:
    logits = torch.tensor([[[[0.0, math.log(3)]]]])  # probabilities 1/2 and 3/4
    targets = torch.tensor([[[[1.0, 0.5]]]])
    first = math.log(2) * 0.5**2
    second = -(0.5 * math.log(0.75) + 0.5 * math.log(0.25)) * 0.25**2
    both = focal_loss(logits, targets, weight=torch.ones_like(targets))
    assert both.item() == pytest.approx((first + second) / 2)
    object_mean = focal_loss(logits, targets, weight=torch.ones_like(targets), mean="object")
    assert object_mean.item() == pytest.approx((first + second) / 1.5)
    padded = focal_loss(logits, targets, weight=torch.tensor([[[[1.0, 0.0]]]]))
    assert padded.item() == pytest.approx(first)


def test_soft_targets_have_their_optimum_at_the_coverage() -> None:
    targets = torch.tensor([0.1, 0.3, 0.5, 0.8]).view(1, 1, 2, 2)
    weight = torch.ones_like(targets)
    for loss in (focal_loss, dice_loss):
        logits = targets.logit().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(logits, targets, weight=weight).sum(), logits)
        assert gradient.abs().max() < 1e-6, loss.__name__
        assert loss(logits, targets, weight=weight) < loss(logits + 0.3, targets, weight=weight)
        assert loss(logits, targets, weight=weight) < loss(logits - 0.3, targets, weight=weight)


def test_dice_by_hand() -> None:
    logits = torch.tensor([[[[0.0, math.log(3)], [0.0, 0.0]]]])
    targets = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    weight = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    overlap = 0.5 + 0.75
    linear = 1 - (2 * overlap + 1) / (0.5 + 0.75 + 0.5 + 2 + 1)
    squared = 1 - (2 * overlap + 1) / (0.25 + 0.5625 + 0.25 + 2 + 1)
    assert dice_loss(logits, targets, weight=weight, power=1).item() == pytest.approx(linear)
    assert dice_loss(logits, targets, weight=weight, power=2).item() == pytest.approx(squared)


def test_dice_of_a_perfect_mask_is_zero_whatever_its_area() -> None:
    for area in (1, 4, 16):
        targets = torch.zeros(1, 1, 16)
        targets[..., :area] = 1
        targets = targets.view(1, 1, 4, 4)
        logits = (targets * 2 - 1) * 50
        assert dice_loss(logits, targets, weight=torch.ones_like(targets)).item() == pytest.approx(
            0
        )


def test_iou_by_hand() -> None:
    logits = torch.tensor([[[[1.0, 1.0], [-1.0, 1.0]]]])
    targets = torch.tensor([[[[1.0, 0.5], [1.0, 0.0]]]])
    assert thresholded_iou(logits, targets, weight=EVERYWHERE).item() == pytest.approx(
        1.5 / (3 + 2.5 - 1.5)
    )
    padded = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert thresholded_iou(logits, targets, weight=padded).item() == pytest.approx(1.5 / 2)
    nothing = thresholded_iou(-torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), weight=EVERYWHERE)
    assert nothing.item() == 1


def test_which_tokens_compete() -> None:
    competing = competing_tokens(torch.tensor([True, False]), 4)
    assert competing.tolist() == [[False, True, True, True], [True, False, False, False]]
    assert competing_tokens(torch.tensor([True, False]), 1).all()


def _case() -> dict[str, torch.Tensor]:
    """Two rows of 16 px masks: token 2 fits the first, token 0 the second (and token 3 better)."""
    masks = torch.zeros(2, 16, 16, dtype=torch.uint8)
    masks[0, :8, :8] = 1
    masks[1, 8:, :] = 1
    perfect = (mask_coverage(masks, 4) * 2 - 1) * 10
    logits = -10 * torch.ones(2, 4, 4, 4)
    logits[0, 0], logits[0, 2] = perfect[0], 0.5 * perfect[0]
    logits[1, 0], logits[1, 3] = 0.1 * perfect[1], perfect[1]
    ious = torch.tensor([[0.1, 0.2, 0.3, 0.9], [0.6, 0.0, 0.0, 1.0]])
    return {
        "low_res_logits": logits,
        "iou_predictions": ious,
        "masks": masks,
        "valid_size": torch.tensor([[16, 16], [16, 16]]),
        "ambiguous": torch.tensor([True, False]),
    }


def _losses(config: LossConfig | None = None, **changes: torch.Tensor) -> MaskLosses:
    case = {**_case(), **changes}
    logits, ious = case.pop("low_res_logits"), case.pop("iou_predictions")
    return mask_losses(logits, ious, config=config, **case)


def test_the_smallest_of_three_or_token_zero() -> None:
    result = _losses()
    assert result.chosen.tolist() == [2, 0]
    assert result.iou.tolist() == [1, 1]
    assert result.iou_selected.tolist() == [0, 1], "token 3 claims 0.9 in the first row"
    first = ((0.2 - 0) ** 2 + (0.3 - 1) ** 2 + (0.9 - 0) ** 2) / 3
    assert result.iou_error.tolist() == pytest.approx([first, (0.6 - 1) ** 2])


def test_the_total_is_the_weighted_sum() -> None:
    config = LossConfig(focal_weight=7, dice_weight=3, iou_weight=0.5)
    result = _losses(config)
    rows = 7 * result.focal + 3 * result.dice + 0.5 * result.iou_error
    assert result.total.item() == pytest.approx(rows.mean().item())
    assert result.summary["loss"].item() == pytest.approx(rows.mean().item())
    assert result.summary["iou"].item() == 1
    assert not any(value.requires_grad for value in result.summary.values())
    assert LossConfig().focal_weight / LossConfig().dice_weight == 20


def test_rows_that_do_not_count() -> None:
    only_second = _losses(row_valid=torch.tensor([False, True]))
    both = _losses()
    row = 20 * both.focal[1] + both.dice[1] + both.iou_error[1]
    assert only_second.total.item() == pytest.approx(row.item())
    assert _losses(row_valid=torch.tensor([False, False])).total.item() == 0


def test_gradients_reach_the_chosen_token_and_competing_ious_only() -> None:
    case = _case()
    logits = case["low_res_logits"].requires_grad_()
    ious = case["iou_predictions"].requires_grad_()
    total = _losses(low_res_logits=logits, iou_predictions=ious).total
    of_logits, of_ious = torch.autograd.grad(total, (logits, ious))
    touched = of_logits.flatten(2).abs().sum(2) > 0
    assert touched.tolist() == [[False, False, True, False], [True, False, False, False]]
    assert (of_ious != 0).tolist() == [[False, True, True, True], [True, False, False, False]]


def test_padding_does_not_count() -> None:
    valid_size = torch.tensor([[16, 12], [16, 12]])
    logits = _random(2, 4, 4, 4)
    spoilt = logits.clone()
    spoilt[..., 3] = 20
    one = _losses(low_res_logits=logits, valid_size=valid_size)
    two = _losses(low_res_logits=spoilt, valid_size=valid_size)
    torch.testing.assert_close(one.total, two.total)
    assert not torch.allclose(one.total, _losses(low_res_logits=spoilt).total)


def test_a_small_mask_counts_as_much_as_a_large_one() -> None:
    """An empty answer costs the same dice loss for 64 cells as for 1024."""
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, :8, :8] = 1
    masks[1, :32, :32] = 1
    result = mask_losses(
        torch.full((2, 1, 64, 64), -20.0),
        torch.zeros(2, 1),
        masks=masks,
        valid_size=torch.tensor([[64, 64]] * 2),
        ambiguous=torch.tensor([False, False]),
    )
    assert result.dice.tolist() == pytest.approx([1, 1], abs=0.02)


def test_a_finer_grid_is_that_of_upsampled_logits() -> None:
    logits = _random(2, 4, 4, 4)
    fine = F.interpolate(logits, size=(8, 8), mode="bilinear", align_corners=False)
    expected = _losses(low_res_logits=fine)
    ours = _losses(LossConfig(upsample=2), low_res_logits=logits)
    torch.testing.assert_close(ours.total, expected.total)


def test_bf16_logits_are_computed_in_float32() -> None:
    result = _losses(low_res_logits=_random(2, 4, 4, 4).bfloat16())
    assert result.total.dtype == torch.float32


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_features_by_hand_without_padding(kind: Regression) -> None:
    student, teacher = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    teacher[0, :, 0, 0] = 3
    teacher[:, :, 2:] = 100  # below the first image: padding
    valid_size = torch.tensor([[32, 64], [64, 64]])
    loss = features_loss(
        student, teacher, valid_size=valid_size, image_size=64, kind=kind, delta=1.0
    )
    one, many = (9, 10_000) if kind == "mse" else (3 - 0.5, 100 - 0.5)
    assert loss.tolist() == pytest.approx([one / 8, many / 2])


def test_the_teacher_gets_no_gradient() -> None:
    student = _random(1, 2, 4, 4).requires_grad_()
    teacher = _random(1, 2, 4, 4, seed=1).requires_grad_()
    size = torch.tensor([[64, 64]])
    loss = features_loss(student, teacher, valid_size=size, image_size=64).sum()
    gradients = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    assert gradients[0] is not None
    assert gradients[1] is None
