"""What accelerators ask of a graph: few axes, no shape that depends on data, constants folded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from samedge.export.graphs import flat, folded
from samedge.models._tinyvit import ENCODER as TINYVIT
from samedge.models._tinyvit import TinyViTConfig
from samedge.models._vit import ENCODER as VIT
from samedge.models._vit import ViTConfig
from samedge.models.prompt_encoder import MASKED_BIAS, token_bias
from samedge.models.windows import Constant, GridBlock, from_windows, to_windows
from tests.contract.graph_watch import Watch
from tests.toys.models import tiny_sam


def encoders() -> dict[str, tuple[nn.Module, int]]:
    vit = ViTConfig(128, width=32, depth=2, heads=2, global_blocks=(1,), window=3, mlp_dim=32)
    tiny = TinyViTConfig(
        128, widths=(8, 16, 20, 32), depths=(1, 1, 1, 1), heads=(1, 2, 2, 4), windows=(7, 7, 5, 3)
    )
    return {"vit": (VIT.build(vit), 128), "tinyvit": (TINYVIT.build(tiny), 128)}


FEEDS = (
    torch.rand(2, 3, 2) * 128,
    torch.tensor([[1.0, 0.0, -1.0], [2.0, 3.0, 1.0]]),
    torch.randn(2, 1, 32, 32),
    torch.tensor([0.0, 1.0]),
)


@pytest.mark.parametrize("name", ["vit", "tinyvit"])
def test_encoders_have_at_most_four_axes(name: str) -> None:
    encoder, size = encoders()[name]
    with torch.no_grad(), Watch() as watch:
        encoder.eval()(torch.randn(1, 3, size, size))
    assert watch.axes == 4


def test_the_decoder_has_at_most_four_axes_and_no_lookup_by_value() -> None:
    sam = tiny_sam()
    with torch.no_grad():
        embedding = sam.encode(torch.zeros(1, 128, 128, 3, dtype=torch.uint8))
        with folded(sam), Watch() as watch:
            sam.decode(embedding, *FEEDS)
    assert watch.axes == 4
    assert not set(watch.operations) & {
        "index",
        "nonzero",
        "masked_select",
        "repeat_interleave",
        "item",
    }


@pytest.mark.parametrize("name", ["vit", "tinyvit"])
def test_flat_streams_change_no_number(name: str) -> None:
    encoder, size = encoders()[name]
    blocks = [module for module in encoder.modules() if isinstance(module, GridBlock)]
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        before = encoder.eval()(x)
        with flat(encoder):
            assert all(block.is_flat for block in blocks)
            after = encoder(x)
        assert torch.equal(after, before)
        with Watch() as watch:
            encoder(x)
    assert not any(block.is_flat for block in blocks)
    assert watch.axes == 4


@pytest.mark.parametrize("name", ["vit", "tinyvit"])
def test_folding_removes_gathers_and_changes_nothing(name: str) -> None:
    encoder, size = encoders()[name]
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.2)
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        before = encoder.eval()(x)
        with Watch() as unfolded:
            encoder(x)
        with folded(encoder), Watch() as watch:
            after = encoder(x)
    assert "index_select" in unfolded.operations
    assert "index_select" not in watch.operations
    assert torch.equal(before, after)


def test_folded_values_stay_until_the_export_ends() -> None:
    encoder, _ = encoders()["vit"]
    table = next(m for m in encoder.modules() if isinstance(m, Constant))
    with torch.no_grad():
        with folded(encoder):
            first = table()
            assert isinstance(table.weight, Tensor)
            table.weight.add_(1.0)
            assert torch.equal(first, table())
        assert not torch.equal(first, table())


def test_a_folded_copy_is_its_own() -> None:
    sam = tiny_sam()
    twin = copy.deepcopy(sam)
    twin.prompt_encoder.position.gaussian.zero_()
    assert not sam.prompt_encoder.dense_position().eq(twin.prompt_encoder.dense_position()).all()


def test_constants_are_trained_through() -> None:
    encoder, size = encoders()["vit"]
    encoder.train()(torch.randn(1, 3, size, size)).pow(2).sum().backward()
    tables = [m for m in encoder.modules() if isinstance(m, Constant)]
    assert tables
    for table in tables:
        assert isinstance(table.weight, Tensor)
        assert table.weight.grad is not None


@pytest.mark.parametrize(("window", "grid"), [(3, 8), (7, 14), (4, 4), (14, 8)])
def test_windows_are_squares_of_the_grid(window: int, grid: int) -> None:
    x = torch.randn(2, grid, grid, 5)
    windows = to_windows(x, window, grid)
    count = -(-grid // window)
    assert windows.shape == (2 * count * count, window, window, 5)
    padded = nn.functional.pad(x, (0, 0, 0, count * window - grid, 0, count * window - grid))
    row, column = count - 1, 0
    expected = padded[1, row * window : (row + 1) * window, :window]
    assert torch.equal(windows[count * count + row * count + column], expected)
    assert torch.equal(from_windows(windows, window, grid), x)


def test_token_bias() -> None:
    labels = torch.tensor(
        [
            [1.0, -1.0, -1.0, -1.0],  # the first -1 is SAM's own
            [1.0, 0.0, -1.0, 1.0],
            [2.0, 3.0, -1.0, -1.0],  # beside a box there is none
            [1.0, 2.0, 3.0, -1.0],
            [-2.0, -1.0, -1.0, -1.0],  # nor beside a mask alone
            [1.0, -2.0, -1.0, -1.0],
        ]
    )
    masked = token_bias(labels) < 0
    assert masked.int().tolist() == [
        [0, 0, 1, 1],
        [0, 0, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 0, 1],
        [1, 1, 1, 1],
        [0, 1, 0, 1],
    ]
    assert float(token_bias(labels).min()) == MASKED_BIAS


def test_half_precision_survives_the_bias() -> None:
    assert torch.isfinite(torch.tensor(MASKED_BIAS, dtype=torch.float16))
    scores = torch.tensor([60.0, 60.0 + MASKED_BIAS], dtype=torch.float16)
    assert torch.softmax(scores.float(), 0).tolist() == [1.0, 0.0]


@pytest.mark.slow
def test_tracing_keeps_batch_and_points_free() -> None:
    sam = tiny_sam(64, embed_dim=32)

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sam = sam

        def forward(self, *feeds: Tensor) -> tuple[Tensor, Tensor]:
            return sam.decode(*feeds)

    def feeds(batch: int, points: int) -> tuple[Tensor, ...]:
        labels = torch.ones(batch, points)
        mask = torch.randn(batch, 1, 16, 16)
        coords = torch.rand(batch, points, 2) * 64
        return torch.randn(1, 32, 4, 4), coords, labels, mask, torch.ones(batch)

    batch, points = torch.export.Dim("batch", max=64), torch.export.Dim("points", max=64)
    shapes: tuple[dict[int, Any], ...] = (
        {},
        {0: batch, 1: points},
        {0: batch, 1: points},
        {0: batch},
        {0: batch},
    )
    program = torch.export.export(Decoder(), feeds(2, 3), dynamic_shapes=(shapes,))
    for size in ((1, 1), (5, 2), (3, 9)):
        given = feeds(*size)
        for got, expected in zip(program.module()(*given), sam.decode(*given), strict=True):
            assert torch.allclose(got, expected, atol=1e-5)
