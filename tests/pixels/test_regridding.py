"""Logits moved between views of one image."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.pixels.frames import LONGEST_SIDE, MASK_PROMPT_LOGIT, SQUARE, Frame
from samedge.pixels.regridding import regridded
from samedge.types import Region

SIZE = (300, 400)


def _disc(frame: Frame, region: Region | None) -> np.ndarray:
    """Logits of a disc around (210, 140) of radius 30, as a view's decoder would give them."""
    view = frame.view(SIZE, region=region)
    side = frame.low_res_side
    cells = (np.arange(side) + 0.5) * 4
    (high, wide), (height, width) = view.input_size, view.viewed_size
    ys = cells / high * height + view.bounds[1]
    xs = cells / wide * width + view.bounds[0]
    return np.asarray(30 - np.hypot(xs[None] - 210, ys[:, None] - 140), np.float32)[None] / 4


@pytest.mark.parametrize("resize", [LONGEST_SIDE, SQUARE])
def test_the_same_disc_in_other_views(resize: str) -> None:
    frame = Frame(target_length=256, resize=resize)
    near, whole = (130, 70, 290, 210), None
    for first, second in ((near, whole), (whole, near), (near, (150, 80, 260, 200))):
        source, target = frame.view(SIZE, region=first), frame.view(SIZE, region=second)
        moved = regridded(_disc(frame, first), source=source, target=target)
        expected = target.masks(_disc(frame, second))[0]
        found = target.masks(moved)[0]
        assert (found & expected).sum() / (found | expected).sum() > 0.93
        assert moved.shape == (1, 64, 64)
        assert moved.dtype == np.float32


@pytest.mark.parametrize("resize", [LONGEST_SIDE, SQUARE])
def test_a_mirrored_view_of_the_same_disc(resize: str) -> None:
    frame = Frame(target_length=256, resize=resize)
    source = frame.view(SIZE, region=(400 - 290, 70, 400 - 130, 210))  # of the mirrored image
    target = frame.view(SIZE, region=(150, 80, 260, 200))
    mirrored = _disc(frame, (130, 70, 290, 210))[:, :, ::-1]
    width = source.low_res_size[1]
    mirrored = np.roll(mirrored, width - mirrored.shape[2], axis=2)  # the padding stays right
    moved = regridded(mirrored, source=source, target=target, mirrored=True)
    expected, found = target.masks(_disc(frame, target.region))[0], target.masks(moved)[0]
    assert (found & expected).sum() / (found | expected).sum() > 0.93


def test_nothing_where_the_source_shows_nothing() -> None:
    frame = Frame(target_length=256)
    source, target = frame.view(SIZE, region=(100, 100, 200, 200)), frame.view(SIZE)
    moved = regridded(np.full((1, 64, 64), 3.0, np.float32), source=source, target=target)
    mask = target.masks(moved)[0]
    assert mask[120:180, 120:180].all()
    assert not mask[:95].any()
    assert not mask[:, 206:].any()
    assert moved.min() == -MASK_PROMPT_LOGIT


def test_the_same_view_changes_little() -> None:
    frame = Frame(target_length=256)
    view = frame.view(SIZE)
    logits = _disc(frame, None)
    height, width = view.low_res_size
    moved = regridded(logits, source=view, target=view)
    assert np.abs(moved - logits)[:, :height, :width].mean() < 0.2
