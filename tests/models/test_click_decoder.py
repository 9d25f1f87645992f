"""The click decoder: the same masks however prompts are batched, and what its size is."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from samedge.models.click_decoder import ClickDecoder, doubled, doubling
from samedge.models.click_painting import ClickPainter
from samedge.models.click_parts import Prior

SIDE = 128


@pytest.fixture
def decoder() -> ClickDecoder:
    torch.manual_seed(0)
    decoder = ClickDecoder(SIDE).eval()
    for parameter in decoder.parameters():  # the network is silent at first
        torch.nn.init.normal_(parameter, std=0.05)
    return decoder


def _maps(images: int, side: int = SIDE) -> list[torch.Tensor]:
    shapes = [(256, side // 16), (16, side // 4), (24, side // 8)]
    return [torch.randn(images, channels, cells, cells) for channels, cells in shapes]


def _prompts(images: int, side: int = SIDE) -> list[torch.Tensor]:
    labels = torch.tensor([[2.0, 3, 1], [1, 0, -1], [1, -2, -1]]).repeat(images, 1)
    coords = torch.rand(3 * images, 3, 2) * (side - 1)
    coords[labels[:, 0] == 2, :2] = torch.tensor([[20.0, 30.0], [70.0, 90.0]])
    has = torch.tensor([0.0, 1.0, 0.0]).repeat(images)
    return [coords, labels, torch.randn(3 * images, 1, side // 4, side // 4) * 4, has]


def test_prompts_of_several_images_get_the_masks_they_get_alone(decoder: ClickDecoder) -> None:
    maps, prompts = _maps(2), _prompts(2)
    with torch.no_grad():
        together = decoder(*maps, *prompts)
        alone = [
            decoder(*(m[i : i + 1] for m in maps), *(p[3 * i : 3 * i + 3] for p in prompts))
            for i in range(2)
        ]
    for index in range(2):
        torch.testing.assert_close(together[index], torch.cat([a[index] for a in alone]))
    assert together[0].shape == (6, 4, SIDE // 4, SIDE // 4)
    assert together[1].min() >= 0
    assert together[1].max() <= 1


def test_ignored_tokens_change_nothing(decoder: ClickDecoder) -> None:
    maps, (coords, labels, mask, has) = _maps(1), _prompts(1)
    longer = torch.cat([coords, torch.rand(3, 2, 2) * SIDE], 1)
    padded = torch.cat([labels, torch.tensor([[-1.0, -2.0]]).expand(3, -1)], 1)
    with torch.no_grad():
        plain = decoder(*maps, coords, labels, mask, has)
        more = decoder(*maps, longer, padded, mask, has)
    torch.testing.assert_close(plain, more)


def test_a_mask_that_does_not_count_is_not_seen(decoder: ClickDecoder) -> None:
    maps, (coords, labels, mask, has) = _maps(1), _prompts(1)
    with torch.no_grad():
        first = decoder(*maps, coords, labels, mask, has * 0)
        second = decoder(*maps, coords, labels, mask * 0, has * 0)
    torch.testing.assert_close(first, second)


def test_untrained_a_box_is_its_own_mask() -> None:
    decoder = ClickDecoder(SIDE).eval()
    coords = torch.tensor([[[19.5, 31.5], [83.5, 95.5]]])
    labels = torch.tensor([[2.0, 3.0]])
    empty = torch.zeros(1, 1, SIDE // 4, SIDE // 4)
    with torch.no_grad():
        masks, _ = decoder(*_maps(1), coords, labels, empty, torch.zeros(1))
    inside = torch.zeros(SIDE // 4, SIDE // 4, dtype=torch.bool)
    inside[8:24, 5:21] = True
    found = masks[0, 0] > 0
    assert (found & inside).sum() / (found | inside).sum() > 0.9


def test_training_and_evaluation_compute_the_same(decoder: ClickDecoder) -> None:
    maps, prompts = _maps(1), _prompts(1)
    with torch.no_grad():
        expected = decoder(*maps, *prompts)
        torch.testing.assert_close(decoder.train()(*maps, *prompts), expected)


def test_doubling_is_bilinear() -> None:
    x = torch.randn(2, 3, 8, 8)
    expected = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(doubled(x, doubling(8)), expected)


def test_a_prompt_costs_at_most_a_fifth_of_a_gflop() -> None:
    decoder = ClickDecoder(512).eval()
    prompts = [torch.zeros(1, 2, 2), torch.ones(1, 2), torch.zeros(1, 1, 128, 128), torch.zeros(1)]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder(*_maps(1, 512), *prompts)
    assert counter.get_total_flops() < 0.2e9


def test_a_box_smaller_than_a_cell_still_has_an_inside() -> None:
    painter = ClickPainter(SIDE)
    corners = torch.tensor([[[0.0, 0.0], [3.0, 3.0]]]) + 12.5
    painting = painter(corners / SIDE, torch.tensor([[2.0, 3.0]]))
    for grid in (painting.middle, painting.fine):
        assert (grid.radius * 4 < 1).any()
    assert painting.present.item() == 1


def test_clicks_are_painted_as_gaussians_of_their_kind() -> None:
    coords = torch.tensor([[[20.0, 31.0], [60.0, 70.0], [90.0, 15.0]]])
    painting = ClickPainter(SIDE)(coords / SIDE, torch.tensor([[1.0, 0.0, -1.0]]))
    for grid, kinds in (
        (painting.middle, [(0, 6), (0, 24), (1, 6), (1, 24)]),
        (painting.fine, [(0, 6), (1, 6), (0, 48), (0, 20), (0, 48), (0, 110)]),
    ):
        side = grid.blobs.shape[-1]
        centres = (torch.arange(side) + 0.5) * (SIDE / side)
        assert grid.blobs.shape[1] == len(kinds)
        for blob, (point, sigma) in zip(grid.blobs[0], kinds, strict=True):
            x, y = coords[0, point]
            squares = (centres[None] - x) ** 2 + (centres[:, None] - y) ** 2
            width = sigma * SIDE / 512
            torch.testing.assert_close(
                blob, torch.exp(squares / (-2 * width**2)), atol=1e-5, rtol=0
            )
        assert grid.distance.abs().max() == 0, "no box"


def test_a_box_is_painted_as_distances() -> None:
    corners = torch.tensor([[[20.0, 30.0], [84.0, 110.0]]])
    painting = ClickPainter(SIDE)(corners / SIDE, torch.tensor([[2.0, 3.0]]))
    for grid in (painting.middle, painting.fine):
        side = grid.radius.shape[-1]
        x = ((torch.arange(side) + 0.5) * (SIDE / side))[None]
        y = x.t()
        inside = torch.minimum(torch.minimum(x - 20, 84 - x), torch.minimum(y - 30, 110 - y))
        expected = torch.stack([(inside / 32).clamp(-1, 1), (inside / 4).clamp(-1, 1)])
        torch.testing.assert_close(grid.distance[0], expected)
        across, down = ((x - 52) / 32).clamp(-2, 2), ((y - 70) / 40).clamp(-2, 2)
        radius = (across**2 + down**2).clamp(max=4) / 4
        torch.testing.assert_close(grid.radius[0, 0], radius)
    side = painting.offset.shape[-1]
    x = ((torch.arange(side) + 0.5) * (SIDE / side))[None].expand(side, side)
    torch.testing.assert_close(painting.offset[0, 0], ((x - 52) / 32).clamp(-2, 2) / 2)
    torch.testing.assert_close(painting.offset[0, 1], ((x.t() - 70) / 40).clamp(-2, 2) / 2)
    # Half sides of 36 px on average: from 24 px on no box is small.
    assert painting.small.item() == 0


@pytest.mark.parametrize("box", [False, True], ids=["click", "box"])
@pytest.mark.parametrize("has", [0.0, 1.0], ids=["first", "refined"])
def test_the_prior_is_a_sum_of_what_is_painted(*, box: bool, has: float) -> None:
    torch.manual_seed(1)
    prior = Prior()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter)
    coords = torch.tensor([[[20.0, 30.0], [44.0, 52.0]]]) / SIDE
    labels = torch.tensor([[2.0, 3.0]]) if box else torch.tensor([[1.0, 0.0]])
    painting = ClickPainter(SIDE)(coords, labels)
    earlier = torch.randn(1, 1, SIDE // 4, SIDE // 4) * has
    with torch.no_grad():
        logits, bias = prior(
            painting, earlier=earlier, has=torch.tensor([[has]]), cells=(SIDE // 4) ** 2
        )
        found = (logits + bias.unsqueeze(2)).reshape(4, SIDE // 4, SIDE // 4)
        fine = painting.fine
        for mask in range(4):
            if box:
                edge = prior.edge[mask] + painting.small[0, 0] * prior.small[mask]
                start = fine.distance[0, 0] * prior.box[mask] + fine.distance[0, 1] * edge
                start = start + (0.75 - fine.radius[0, 0] * 4).clamp(min=-1) * prior.radius[mask]
            else:
                start = fine.blobs[0, 2 + mask] * prior.click[mask] + prior.bias[mask]
            touch = (fine.blobs[0, 0] - fine.blobs[0, 1]) * prior.touch[mask]
            expected = (1 - has) * start + earlier[0, 0] * prior.mask[mask] + touch
            torch.testing.assert_close(found[mask], expected, atol=1e-5, rtol=1e-5)
