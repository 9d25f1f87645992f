"""Making pictures smaller: exact to Pillow's bit, fast close to it, any layout of memory alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from samedge.pixels.frames import Frame
from samedge.pixels.resizing import block_sides, exact_resized, fast_resized
from samedge.types import Array, Size
from tests.toys.pictures import resizing_slack

SIDE = 128
SIZES = [
    (1, 1),
    (1, 37),
    (37, 1),
    (1, 3000),
    (3000, 1),
    (3000, 3),
    (96, 128),
    (160, 160),
    (161, 161),
    (400, 399),
    (500, 1200),
    (1200, 500),
    (1000, 90),
]


def smooth(size: Size, rng: np.random.Generator) -> Array:
    """Coarse noise, enlarged: a picture whose neighbours are alike."""
    coarse = rng.integers(0, 256, (-(-size[0] // 24), -(-size[1] // 24), 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.array(picture)


def target(size: Size) -> Size:
    return Frame(target_length=SIDE).input_size(size)


@pytest.mark.parametrize("size", SIZES)
def test_exact_is_pillow_s_to_the_bit(size: Size, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    wanted = target(size)
    pillow = Image.fromarray(image).resize(wanted[::-1], Image.Resampling.BILINEAR)
    difference = np.abs(exact_resized(image, wanted) - np.asarray(pillow).astype(np.int64))
    assert difference.max() <= resizing_slack(size)


@pytest.mark.parametrize("size", SIZES)
def test_fast_is_close(size: Size, rng: np.random.Generator) -> None:
    image, wanted = smooth(size, rng), target(size)
    exact = exact_resized(image, wanted).astype(np.int64)
    difference = np.abs(fast_resized(image, wanted) - exact)
    assert difference.mean() < 3.5, block_sides(size, wanted)
    if block_sides(size, wanted) == (1, 1):
        assert not difference.any()


def test_fast_moves_and_lightens_nothing(rng: np.random.Generator) -> None:
    """Of a slope every mean is where the exact one is; of noise the mean is the noise's."""
    slope = np.linspace(0, 255, 1000, dtype=np.float32)[None, :, None].repeat(1000, axis=0)
    image = np.repeat(slope, 3, axis=2).round().astype(np.uint8)
    exact, fast = (f(image, (SIDE, SIDE)).astype(np.float64) for f in (exact_resized, fast_resized))
    assert abs((fast - exact).mean()) < 0.2  # levels; a block's shift would be 2
    assert np.abs(fast - exact).max() <= 2
    noise = rng.integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    assert abs(fast_resized(noise, (SIDE, SIDE)).mean() - noise.mean()) < 0.5


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "BGR seen as RGB": lambda image: np.ascontiguousarray(image[:, :, ::-1])[:, :, ::-1],
    "planes": lambda image: np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
    "upside down": lambda image: np.ascontiguousarray(image[::-1])[::-1],
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1])[:, ::-1],
    "turned": lambda image: np.ascontiguousarray(image.transpose(1, 0, 2)).transpose(1, 0, 2),
    "RGBA": lambda image: np.pad(image, ((0, 0), (0, 0), (0, 1)))[:, :, :3],
    "a part of a larger one": lambda image: np.pad(image, ((3, 2), (5, 1), (0, 0)))[3:-2, 5:-1],
    "every second pixel": lambda image: image.repeat(2, axis=0).repeat(2, axis=1)[::2, ::2],
    "repeated": lambda image: np.broadcast_to(image[:1], image.shape),
}


@pytest.mark.parametrize("size", [(1, 700), (401, 700), (640, 320), (1, 1)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_memory_are_alike(layout: str, size: Size, rng: np.random.Generator) -> None:
    seen = LAYOUTS[layout](rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    seen.setflags(write=False)
    image, wanted = np.ascontiguousarray(seen), target(size)
    for resized in (exact_resized, fast_resized):
        assert np.array_equal(resized(seen, wanted), resized(image, wanted))


def test_nothing_beyond_the_array_is_read() -> None:
    """The last pixel ends a buffer: what is behind it changes nothing."""
    size, wanted = (256, 256), (SIDE, SIDE // 2)
    answers = []
    for behind in (0, 255):
        buffer = np.full(size[0] * size[1] * 3 + 64, behind, np.uint8)
        buffer[:-64] = 7
        answers.append(fast_resized(buffer[:-64].reshape(*size, 3), wanted))
    assert np.array_equal(answers[0], answers[1])
    assert (answers[0] == 7).all()


def test_one_core_gives_the_same(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    image = rng.integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    monkeypatch.setattr("samedge.pixels.resizing._cores", lambda: 1)
    alone = exact_resized(image, (96, SIDE))
    monkeypatch.setattr("samedge.pixels.resizing._cores", lambda: 2)
    assert np.array_equal(exact_resized(image, (96, SIDE)), alone)
