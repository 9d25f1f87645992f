"""Overlays: what is blended where, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.errors import ImageError
from samedge.pixels.overlay import BACKGROUND_COLOR, FOREGROUND_COLOR, PALETTE, draw_masks, outline
from samedge.types import Array, Prompt


def disc(size: int = 120, radius: int = 30) -> Array:
    y, x = np.mgrid[:size, :size] - size // 2
    return np.asarray(x**2 + y**2 <= radius**2)


def test_fill_blends_inside_and_leaves_the_rest_untouched() -> None:
    image = np.full((120, 120, 3), 100, np.uint8)
    drawn = draw_masks(image, disc()[None], opacity=0.5)
    expected = (np.array(PALETTE[0]) + 100) / 2
    assert np.abs(drawn[60, 60] - expected).max() <= 1
    assert (drawn[~disc(radius=40)] == 100).all()
    assert (image == 100).all(), "the input is not drawn on"


def test_outline_is_as_wide_as_asked_and_smooth() -> None:
    half_plane = np.zeros((60, 60), bool)
    half_plane[:, 30:] = True
    profile = outline(half_plane, 4.0)[30]
    assert profile.sum() == pytest.approx(4.0, abs=0.3)
    assert profile.max() == 1.0
    assert abs(float((profile * np.arange(60)).sum() / profile.sum()) - 29.5) < 0.1
    assert ((profile > 0.01) & (profile < 0.99)).any(), "the line has no smooth edges"


def test_a_single_pixel_still_shows() -> None:
    mask = np.zeros((40, 40), bool)
    mask[20, 20] = True
    assert outline(mask, 2.0)[20, 20] == 1.0


def test_small_masks_are_drawn_over_large_ones() -> None:
    image = np.zeros((120, 120, 3), np.uint8)
    small, large = disc(radius=10), disc(radius=50)
    for order in ((small, large), (large, small)):
        drawn = draw_masks(image, np.stack(order), opacity=1.0)
        color = PALETTE[[mask.sum() for mask in order].index(small.sum())]
        assert tuple(drawn[60, 60]) == color


def test_markers_differ_by_label_and_may_touch_the_border() -> None:
    image = np.full((100, 200, 3), 128, np.uint8)
    prompt = Prompt(points=[[50, 50], [150, 50], [0, 0], [199, 99]], labels=[1, 0, 1, 0])
    drawn = draw_masks(image, np.zeros((0, 100, 200), bool), prompts=[prompt])
    colors = {tuple(color) for color in drawn.reshape(-1, 3).tolist()}
    assert {FOREGROUND_COLOR, BACKGROUND_COLOR} <= colors
    assert (drawn[0, 0] != 128).any()
    assert (drawn[99, 199] != 128).any()


def test_box_is_drawn_on_its_edge_only() -> None:
    image = np.full((100, 100, 3), 128, np.uint8)
    drawn = draw_masks(image, np.zeros((0, 100, 100), bool), prompts=[Prompt(box=[20, 30, 80, 70])])
    assert tuple(drawn[30, 50]) == FOREGROUND_COLOR
    assert tuple(drawn[50, 50]) == (128, 128, 128)


def test_a_box_has_the_colour_of_its_mask() -> None:
    image = np.full((120, 120, 3), 128, np.uint8)
    prompts = [Prompt(box=[10, 10, 110, 110]), Prompt(box=[20, 20, 100, 100])]
    drawn = draw_masks(image, np.stack([disc(), disc(radius=5)]), prompts=prompts)
    assert [tuple(drawn[row, 60]) for row in (10, 20)] == list(PALETTE[:2])


def test_empty_and_full_masks() -> None:
    image = np.full((30, 40, 3), 9, np.uint8)
    assert (draw_masks(image, np.zeros((1, 30, 40), bool)) == 9).all()
    assert (draw_masks(image, np.ones((1, 30, 40), bool))[15, 20] != 9).any()


def test_masks_of_another_frame_are_refused() -> None:
    with pytest.raises(ImageError, match="original image's frame"):
        draw_masks(np.zeros((10, 20, 3), np.uint8), np.zeros((1, 20, 10), bool))


def inked(drawn: Array, plain: Array) -> Array:
    return np.asarray((drawn != plain).any(axis=2))


def test_labels_lie_on_their_masks_and_cover_little() -> None:
    image = np.full((300, 400, 3), 100, np.uint8)
    masks = np.zeros((2, 300, 400), bool)
    masks[0, 40:260, 20:180] = masks[1, 40:260, 220:380] = True
    plain, drawn = draw_masks(image, masks), draw_masks(image, masks, labels=["0 0.91", "1 0.42"])
    changed = inked(drawn, plain)
    for mask in masks:
        assert 30 < (changed & mask).sum() < 0.03 * mask.sum()
    assert not (changed & ~masks.any(axis=0)).any()
    assert drawn.max() > 240, "the ink is white"
    assert drawn.min() < 60, "its casing is dark"


def test_labels_of_masks_in_one_place_do_not_cover_each_other() -> None:
    masks = np.stack([disc(radius=50), disc(radius=49), disc(radius=48)])
    image = np.zeros((120, 120, 3), np.uint8)
    drawn = [
        inked(draw_masks(image, masks, labels=labels), draw_masks(image, masks))
        for labels in (["0 0.9", "", ""], ["", "1 0.9", ""], ["0 0.9", "1 0.9", ""])
    ]
    together = draw_masks(image, masks, labels=["0 0.9", "1 0.9", "2 0.9"])
    assert inked(together, draw_masks(image, masks)).sum() > 2 * drawn[0].sum()
    assert drawn[2].sum() > 1.5 * max(drawn[0].sum(), drawn[1].sum())


def test_labels_stay_inside_and_empty_masks_have_none() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    masks = np.zeros((3, 40, 60), bool)
    masks[0, 0, 0] = masks[1, 39, 59] = True
    drawn = draw_masks(image, masks, labels=["0 0.50", "1 0.50", "2 0.50"])
    assert drawn.shape == image.shape
    assert np.array_equal(draw_masks(image, masks[2:], labels=["2 0.50"]), image)
    plain = draw_masks(image, masks)
    assert np.array_equal(draw_masks(image, masks, labels=["", " ", "\t"]), plain)
