"""The painted decoder: prompts become the right pictures, and SAM's tensor semantics hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from samedge.models.painted import PaintedDecoder
from samedge.models.painted_trunk import PaintedConfig
from samedge.models.painting import Paint, PromptProfiles, paint

SIZE = 64
GRID = SIZE // 4
Feeds = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def decoder() -> PaintedDecoder:
    torch.manual_seed(0)
    made = PaintedDecoder(SIZE, PaintedConfig(coarse=16, middle=8, fine=8, blocks=1)).eval()
    torch.nn.init.normal_(made.masks.weight, std=0.5)  # a trained network, not the start
    return made.requires_grad_(requires_grad=False)


def feeds(coords: list[list[list[float]]], labels: list[list[float]], *, images: int = 1) -> Feeds:
    generator = torch.Generator().manual_seed(1)
    rows = len(coords)
    return (
        torch.randn(images, 256, SIZE // 16, SIZE // 16, generator=generator),
        torch.tensor(coords),
        torch.tensor(labels),
        torch.zeros(rows, 1, GRID, GRID),
        torch.zeros(rows),
    )


BOX = [[8.0, 12.0], [40.0, 52.0]]
CLICK = [[20.0, 30.0], [0.0, 0.0]]


def test_outputs_have_sams_shapes(decoder: PaintedDecoder) -> None:
    masks, ious = decoder(*feeds([BOX, CLICK], [[2, 3], [1, -1]]))
    assert masks.shape == (2, 4, GRID, GRID)
    assert ious.shape == (2, 4)
    assert ((ious >= 0) & (ious <= 1)).all()


@pytest.mark.parametrize("filler", [-1.0, -2.0])
def test_padding_a_prompt_changes_nothing(decoder: PaintedDecoder, filler: float) -> None:
    short = decoder(*feeds([BOX, CLICK], [[2, 3], [1, -1]]))
    longer = decoder(
        *feeds([[*BOX, [63.0, 1.0]], [*CLICK, [5.0, 5.0]]], [[2, 3, filler], [1, -1, filler]])
    )
    for a, b in zip(short, longer, strict=True):
        torch.testing.assert_close(a, b)


def test_a_batch_equals_its_prompts_one_by_one(decoder: PaintedDecoder) -> None:
    together = decoder(*feeds([BOX, CLICK], [[2, 3], [1, -1]]))
    for row, (coords, labels) in enumerate(((BOX, [2.0, 3.0]), (CLICK, [1.0, -1.0]))):
        alone = decoder(*feeds([coords], [labels]))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[row : row + 1], b, atol=1e-5, rtol=1e-5)


def test_prompts_of_several_images_meet_their_own(decoder: PaintedDecoder) -> None:
    embeddings, *prompts = feeds([BOX, CLICK, BOX, CLICK], [[2, 3], [1, -1]] * 2, images=2)
    together, _ = decoder(embeddings, *prompts)
    second, _ = decoder(embeddings[1:], *(prompt[2:] for prompt in prompts))
    torch.testing.assert_close(together[2:], second, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[:2], together[2:])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((BOX, [2.0, 3.0]), ([[8.0, 12.0], [40.0, 44.0]], [2.0, 3.0])),
        ((CLICK, [1.0, -1.0]), (CLICK, [0.0, -1.0])),
        ((CLICK, [1.0, -1.0]), ([[50.0, 50.0], [0.0, 0.0]], [1.0, -1.0])),
    ],
    ids=["box", "label", "place"],
)
def test_every_prompt_counts(
    decoder: PaintedDecoder,
    first: tuple[list[list[float]], list[float]],
    second: tuple[list[list[float]], list[float]],
) -> None:
    one, _ = decoder(*feeds([first[0]], [first[1]]))
    other, _ = decoder(*feeds([second[0]], [second[1]]))
    assert (one - other).abs().max() > 0.1


def test_the_earlier_mask_counts_only_when_it_is_there(decoder: PaintedDecoder) -> None:
    embeddings, coords, labels, mask, has = feeds([CLICK], [[1, -1]])
    without, _ = decoder(embeddings, coords, labels, mask, has)
    absent, _ = decoder(embeddings, coords, labels, mask + 5, has)
    present, _ = decoder(embeddings, coords, labels, mask + 5, has + 1)
    torch.testing.assert_close(without, absent)
    assert (present - without).abs().max() > 1


def test_an_untrained_decoder_answers_a_box_with_the_box() -> None:
    fresh = PaintedDecoder(SIZE, PaintedConfig(coarse=16, middle=8, fine=8, blocks=1)).eval()
    with torch.no_grad():
        masks, _ = fresh(*feeds([BOX], [[2, 3]]))
    inside = masks[0, 0] > 0
    expected = torch.zeros(GRID, GRID, dtype=torch.bool)
    expected[3:13, 2:10] = True  # 12..52 px of rows and 8..40 px of columns, in cells of 4 px
    overlap = (inside & expected).sum() / (inside | expected).sum()
    assert overlap >= 0.75  # the corners are rounded


def drawn(coords: list[list[float]], labels: list[float]) -> Paint:
    profiles = PromptProfiles(SIZE)
    return paint(*profiles(torch.tensor([coords]), torch.tensor([labels])))


def test_painted_clicks_peak_where_the_click_is() -> None:
    clicks = drawn([[17.5, 49.5]], [1.0]).clicks[0]  # the centre of a cell of 4 px
    for foreground, background in zip(clicks[:2], clicks[2:], strict=True):
        assert divmod(int(foreground.argmax()), GRID) == (12, 4)
        assert foreground.max() == 1
        assert background.max() == 0
    assert clicks[1].sum() > clicks[0].sum()  # the second is wider


def test_clicks_on_one_spot_are_cut_at_one() -> None:
    clicks = drawn([[17.5, 49.5]] * 3, [1.0, 1.0, 0.0]).clicks
    assert clicks.max() == 1


def test_box_distance_is_positive_inside_only() -> None:
    box = drawn([[7.5, 11.5], [39.5, 51.5]], [2.0, 3.0])
    centres = (torch.arange(GRID) + 0.5) * 4
    inside = ((centres > 12) & (centres < 52))[:, None] & ((centres > 8) & (centres < 40))
    assert torch.equal(box.edges[0, 0] > 0, inside)
    assert torch.equal(box.sharp, box.edges.clamp(-1, 1))
    assert box.edges.abs().max() <= 8
    assert box.radius[0, 0, 7, 5] < 0.1  # the cell at the box's centre
    assert box.present.item() == 1
    assert box.small.item() == pytest.approx((6 - (4 + 5) / 2) / 4)  # half sides of 4 and 5 cells
    none = drawn([[7.5, 11.5], [0.0, 0.0]], [1.0, -1.0])
    for plane in (none.edges, none.sharp, none.radius, none.present, none.small):
        assert plane.abs().max() == 0


def test_no_intermediate_value_leaves_fp16() -> None:
    torch.manual_seed(0)
    wide = PaintedDecoder(512, PaintedConfig(coarse=16, middle=8, fine=8, blocks=1)).eval()
    rows = (
        torch.randn(1, 256, 32, 32),
        torch.tensor([[[0.0, 0.0], [511.0, 511.0]]]),
        torch.tensor([[2.0, 3.0]]),
        torch.full((1, 1, 128, 128), 1000.0),
        torch.ones(1),
    )
    with torch.no_grad():
        exact, _ = wide(*rows)
        half, _ = wide.half()(*(row.half() for row in rows))
    assert torch.isfinite(half).all()
    assert ((exact > 0) == (half > 0)).float().mean() > 0.99
