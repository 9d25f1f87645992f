"""Motion between pictures that were moved by a known amount."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from samedge.tracking.carrying import carried, displacement
from samedge.tracking.geometry import Box, Grid, patch
from samedge.tracking.motion import (
    MotionSettings,
    dense_motion,
    sampled,
    sampled_on_grid,
    window_mean,
)
from samedge.tracking.settings import TrackerSettings
from samedge.types import Size
from tests.tracking.toys import RED, scene, truth

SETTINGS = TrackerSettings()


def texture(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Smooth noise, 0 to 255."""
    noise = window_mean(window_mean(rng.normal(0, 1, size).astype(np.float32), 2), 2)
    return np.asarray((noise - noise.min()) / np.ptp(noise) * 255, np.float32)


@pytest.mark.parametrize("radius", [1, 2, 3, 4, 7])
def test_window_means_equal_the_slow_ones(rng: np.random.Generator, radius: int) -> None:
    values = rng.random((3, 9, 12)).astype(np.float32)
    padded = np.pad(values, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    side = 2 * radius + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    np.testing.assert_allclose(window_mean(values, radius), windows.mean((-2, -1)), rtol=1e-5)


def test_sampling_between_pixels(rng: np.random.Generator) -> None:
    values = rng.random((5, 7)).astype(np.float32)
    rows, columns = np.indices((5, 7), np.float32)
    np.testing.assert_allclose(sampled(values, rows, columns=columns), values, atol=2e-3)
    middle = sampled(values, np.array([1.5]), columns=np.array([2.5]))
    assert middle == pytest.approx(values[1:3, 2:4].mean(), rel=1e-5)
    colours = np.stack([values, -values], axis=-1)
    np.testing.assert_allclose(sampled(colours, rows, columns=columns)[..., 1], -values, atol=2e-3)
    outside = sampled(values, np.array([-9.0]), columns=np.array([-9.0]))
    assert outside == pytest.approx(values[0, 0])


@pytest.mark.parametrize("shape", [(9, 12), (9, 12, 2)])
def test_a_grid_is_sampled_as_its_places_are(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> None:
    values = rng.random(shape).astype(np.float32)
    rows = np.linspace(-2, 11, 31, dtype=np.float32)
    columns = np.linspace(-1, 14, 17, dtype=np.float32)
    everywhere = np.meshgrid(rows, columns, indexing="ij")
    expected = sampled(values, everywhere[0], columns=everywhere[1])
    assert np.array_equal(sampled_on_grid(values, rows, columns=columns), expected)


@pytest.mark.parametrize("move", [(0.0, 0.0), (1.5, -2.25), (-5.0, 4.0)])
def test_a_known_shift_is_found(rng: np.random.Generator, move: tuple[float, float]) -> None:
    source = texture(rng, (72, 96))
    rows, columns = np.indices(source.shape, np.float32)
    target = sampled(source, rows + move[0], columns=columns + move[1])
    found = dense_motion(target, source, settings=MotionSettings())[12:-12, 12:-12]
    error = np.abs(found - np.array(move)).mean()
    print(f"mean error {error:.3f} px at a shift of {move}")
    assert error < 0.2


def test_flat_pictures_stand_still() -> None:
    flat = np.full((40, 40), 90, np.float32)
    assert np.abs(dense_motion(flat, flat, settings=MotionSettings())).max() == 0


def test_a_larger_picture_is_found_growing(rng: np.random.Generator) -> None:
    source = texture(rng, (80, 80))
    rows, columns = np.indices(source.shape, np.float32)
    target = sampled(source, 40 + (rows - 40) / 1.1, columns=40 + (columns - 40) / 1.1)
    found = dense_motion(target, source, settings=MotionSettings())
    wanted = (columns - 40) / 1.1 - (columns - 40)
    assert np.abs(found[20:60, 20:60, 1] - wanted[20:60, 20:60]).mean() < 0.3


@pytest.mark.parametrize("move", [(0, 0), (12, -7), (-20, 15)])
def test_an_object_is_found_where_it_went(move: tuple[int, int]) -> None:
    before, after = scene((70, 60, RED)), scene((70 + move[0], 60 + move[1], RED), seed=1)
    pictures = Image.fromarray(before), Image.fromarray(after)
    grid = Grid((120, 160), SETTINGS.grid_side)
    logits = grid.logits_from_mask(truth(before, RED))
    box = grid.box(logits)
    assert box is not None
    found = displacement(
        *pictures, box=box, logits=logits, grid=grid, velocity=(0.0, 0.0), settings=SETTINGS
    )
    assert found == pytest.approx(move, abs=2.5)


@pytest.mark.parametrize("move", [(0, 0), (9, -5), (-16, 11)])
def test_a_mask_is_carried_along(move: tuple[int, int]) -> None:
    before, after = scene((70, 60, RED)), scene((70 + move[0], 60 + move[1], RED))
    grid = Grid((120, 160), SETTINGS.grid_side)
    logits = grid.logits_from_mask(truth(before, RED))
    pictures = Image.fromarray(before), Image.fromarray(after)
    now = carried(
        logits, pictures[0], after=pictures[1], grid=grid, velocity=(0.0, 0.0), settings=SETTINGS
    )
    mask, wanted = grid.mask_from_logits(now.logits), truth(after, RED)
    overlap = (mask & wanted).sum() / (mask | wanted).sum()
    print(f"IoU {overlap:.3f} after a move of {move}")
    assert overlap > 0.85
    assert now.velocity == pytest.approx(move, abs=2.5)


def test_an_object_at_the_border_does_not_end_it() -> None:
    grid = Grid((120, 160), SETTINGS.grid_side)
    for x in (150, 158, 162):
        before, after = scene((x, 60, RED)), scene((x + 6, 60, RED))
        logits = grid.logits_from_mask(truth(before, RED))
        pictures = Image.fromarray(before), Image.fromarray(after)
        now = carried(
            logits,
            pictures[0],
            after=pictures[1],
            grid=grid,
            velocity=(6.0, 0.0),
            settings=SETTINGS,
        )
        assert np.isfinite(now.logits).all()


def test_the_grid_and_back() -> None:
    mask = np.zeros((480, 854), bool)
    mask[100:300, 200:500] = True
    grid = Grid((480, 854), 256)
    assert grid.size == (144, 256)
    back = grid.mask_from_logits(grid.logits_from_mask(mask))
    assert (back & mask).sum() / (back | mask).sum() > 0.97
    box = grid.box(grid.logits_from_mask(mask))
    assert box == pytest.approx((200, 100, 500, 300), abs=4)


def test_patches_of_a_box() -> None:
    image = scene((70, 60, RED))
    part = patch(Image.fromarray(image), Box(55, 45, 85, 75), size=(15, 15))
    assert part.shape == (15, 15, 3)
    assert part[..., 0].mean() > 190


@pytest.mark.parametrize("size", [(480, 854), (100, 75), (33, 700)])
def test_only_the_part_with_the_object_is_drawn(rng: np.random.Generator, size: Size) -> None:
    grid = Grid(size, 256)
    rows, columns = grid.size
    coarse = Image.fromarray(rng.normal(-1, 2, (4, 4)).astype(np.float32))
    logits = np.asarray(coarse.resize((columns, rows), Image.Resampling.BICUBIC))
    whole = Image.fromarray(logits).resize(size[::-1], Image.Resampling.BILINEAR)
    wrong = grid.mask_from_logits(logits) ^ (np.asarray(whole) > 0)
    assert wrong.sum() <= 2  # rounding
    assert not grid.mask_from_logits(np.full(grid.size, -1, np.float32)).any()
