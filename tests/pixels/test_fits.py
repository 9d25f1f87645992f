"""FITS: what its samples stand for, which Pillow passes over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge.errors import ImageError
from samedge.pixels.images import load_image


def fits(samples: np.ndarray, *, first: bytes = b"", **cards: Any) -> bytes:
    """A file of one picture, its rows from the bottom up."""
    bits = 8 * samples.itemsize * (-1 if samples.dtype.kind == "f" else 1)
    axes = {f"NAXIS{axis + 1}": length for axis, length in enumerate(samples.shape[::-1])}
    words: dict[str, Any] = {"XTENSION": "'IMAGE   '"} if first else {"SIMPLE": "T"}
    words |= {"BITPIX": bits, "NAXIS": samples.ndim, **axes, **cards}
    head = "".join(f"{key:<8}= {value:>20} / a word".ljust(80) for key, value in words.items())
    return first + blocks((head + "END").encode(), b" ") + blocks(samples.tobytes(), b"\0")


def blocks(data: bytes, filling: bytes) -> bytes:
    return data + filling * (-len(data) % 2880)


RAMP = np.arange(256).reshape(8, 32)


@pytest.mark.parametrize(
    ("kind", "zero", "low"),
    [
        (">u1", 0, 0),
        (">u1", -128, -128),
        (">i2", 0, -30000),
        (">i2", 32768, 0),
        (">i4", 0, 0),
        (">i4", 1 << 31, 0),
        (">i8", 0, -5),
    ],
)
@pytest.mark.parametrize("scale", [1, 2.0])
def test_whole_numbers_are_what_the_header_says(
    kind: str, zero: int, low: int, scale: float
) -> None:
    values = RAMP + low
    stored = (values - zero).astype(kind)
    data = fits(stored[::-1], BZERO=zero * scale, BSCALE=scale)
    loaded = load_image(data, range=(low * scale, (low + 255) * scale))
    assert np.array_equal(loaded[..., 0], RAMP)


@pytest.mark.parametrize("kind", [">f4", ">f8"])
def test_floats(kind: str) -> None:
    assert np.array_equal(load_image(fits((RAMP[::-1] / 255).astype(kind)))[..., 0], RAMP)


def test_of_a_cube_the_first_plane_is_read(caplog: pytest.LogCaptureFixture) -> None:
    planes = np.stack([RAMP, 0 * RAMP, 0 * RAMP])[:, ::-1].astype(">i2")
    assert np.array_equal(load_image(fits(planes), range=(0, 255))[..., 0], RAMP)
    assert "holds 3 planes; the first is read" in caplog.text


def test_a_picture_behind_an_empty_head() -> None:
    head = "".join(f"{c:<80}" for c in ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0", "END"))
    data = fits(RAMP[::-1].astype(">i2"), first=blocks(head.encode(), b" "))
    assert np.array_equal(load_image(data, range=(0, 255))[..., 0], RAMP)


@pytest.mark.parametrize("length", [80, 2880, 2890])
def test_one_that_is_cut_off(length: int) -> None:
    with pytest.raises(ImageError):
        load_image(fits(RAMP.astype(">i2"))[:length])


def test_one_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=100")
    with pytest.raises(ImageError, match="32x8 px, has 256 pixels, limit 100"):
        load_image(fits(RAMP.astype(">i2")))
