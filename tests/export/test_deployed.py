"""The decoder's deployed form gives the numbers of the plain one, from less arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from samedge.models.forms.absorbed import ImageReadsTokens, TokensReadImage
from samedge.models.forms.channels_last import grid_from_subpixels, subpixels_from_grid
from samedge.models.forms.deployed import DeployedDecoder
from samedge.models.mask_decoder import Attention
from samedge.models.sam import Sam
from tests.toys.models import tiny_sam

TOLERANCE = 2e-5


def feeds(
    labels: list[list[float]], *, side: int = 128, images: int = 1, channels: int = 32
) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    batch, count = len(labels), len(labels[0])
    return (
        torch.randn(images, channels, side // 16, side // 16, generator=generator),
        torch.rand(batch, count, 2, generator=generator) * side,
        torch.tensor(labels),
        3 * torch.randn(batch, 1, side // 4, side // 4, generator=generator),
        torch.arange(batch).remainder(2).float(),
    )


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(
    "labels",
    [
        [[1.0, -1.0]],
        [[2.0, 3.0]],
        [[-2.0]],
        [[1.0, 0.0, -1.0, -1.0], [1.0, 2.0, 3.0, -1.0], [-2.0, -2.0, -2.0, -2.0]],
    ],
    ids=["point", "box", "mask alone", "padded batch"],
)
def test_equal_to_the_plain_decoder(sam: Sam, labels: list[list[float]], centred: bool) -> None:
    inputs = feeds(labels)
    with torch.no_grad():
        wanted = sam.decode(*inputs)
        given = DeployedDecoder(sam, centred=centred)(*inputs)
    for want, have in zip(wanted, given, strict=True):
        assert have.shape == want.shape
        assert (want - have).abs().max() < TOLERANCE * want.abs().max().clamp(min=1)


def test_one_image_a_prompt(sam: Sam) -> None:
    inputs = feeds([[1.0, -1.0], [2.0, 3.0]], images=2)
    with torch.no_grad():
        wanted, given = sam.decode(*inputs), DeployedDecoder(sam)(*inputs)
    torch.testing.assert_close(given[0], wanted[0], atol=TOLERANCE, rtol=0)


def test_the_model_stays_as_it_is(sam: Sam) -> None:
    before = {name: tensor.clone() for name, tensor in sam.state_dict().items()}
    DeployedDecoder(sam, centred=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in sam.state_dict().items())


@pytest.mark.parametrize("count", [1, 7])
def test_absorbed_attention_is_attention(count: int) -> None:
    torch.manual_seed(0)
    attention = Attention(32, 4, inner_dim=16)
    tokens, image = torch.randn(2, count, 32), torch.randn(2, 64, 32)
    other, bias = torch.randn(2, count, 32), torch.zeros(2, count)
    bias[1, count // 2] = -1e4 if count > 1 else 0.0
    with torch.no_grad():
        read = TokensReadImage(attention)(tokens, image, image + 1)
        torch.testing.assert_close(read, attention(tokens, image, image + 1), atol=1e-5, rtol=1e-4)
        read = ImageReadsTokens(attention)(image, tokens, other, bias)
        wanted = attention(image, tokens, other, key_bias=bias)
        torch.testing.assert_close(read, wanted, atol=1e-5, rtol=1e-4)


def test_subpixels_are_put_in_image_order() -> None:
    grid = torch.arange(2 * 64 * 64.0).view(2, 1, 64, 64)
    rows = subpixels_from_grid(grid).reshape(2, 16 * 16 * 16, 1)
    assert torch.equal(grid_from_subpixels(rows, 16), grid)


def test_half_the_arithmetic_at_full_size() -> None:
    model = tiny_sam(1024)
    inputs = feeds([[1.0, -1.0]], side=1024, channels=256)
    with torch.no_grad(), FlopCounterMode(display=False) as plain:
        model.decode(*inputs)
    with torch.no_grad(), FlopCounterMode(display=False) as deployed:
        DeployedDecoder(model)(*inputs)
    # tiny_sam has 4 heads: with SAM's 8 the ratio is about 0.6.
    assert deployed.get_total_flops() < 0.6 * plain.get_total_flops()
