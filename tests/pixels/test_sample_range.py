"""Ten, twelve and sixteen bits, floats and signed samples: black and white where they belong."""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import ImageError, OptionError
from samedge.pixels.images import load_image
from samedge.pixels.sample_range import eight_bits
from tests.toys.pictures import png16, tiff


@pytest.fixture
def scene(rng: np.random.Generator) -> np.ndarray:
    """(48, 64) shares of white between 0.1 and 0.9."""
    yy, xx = np.mgrid[:48, :64]
    return np.asarray(0.1 + 0.4 * xx / 63 + 0.3 * yy / 47 + 0.1 * rng.random((48, 64)))


def encoded(samples: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(samples).save(stream, kind)
    return stream.getvalue()


def difference(image: np.ndarray, shares: np.ndarray) -> float:
    wide = shares[..., None] if shares.ndim == 2 else shares
    return float(np.abs(image.astype(float) - wide * 255).max())


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", range(8, 17))
def test_the_depth_is_measured(
    scene: np.ndarray, bits: int, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    samples = np.round(scene * (2**bits - 1)).astype(np.uint16)
    assert difference(load_image(encoded(samples, kind)), scene) <= 1.01
    said = [record.getMessage() for record in caplog.records]
    if bits == 16:
        assert said == []
    else:
        assert f"to {samples.max():g} of 65535; 0 is read as black and {2**bits - 1:g}" in said[0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [3, 4])
def test_so_is_that_of_colours(scene: np.ndarray, bits: int, kind: str, channels: int) -> None:
    cv2 = pytest.importorskip("cv2")
    shares = np.dstack([scene, scene**2, 1 - scene, scene])[..., :channels]
    samples = np.round(shares * (2**bits - 1)).astype(np.uint16)
    bgr = samples[..., [2, 1, 0, 3][:channels]]
    data = cv2.imencode(f".{kind.lower()}", bgr)[1].tobytes()
    assert difference(load_image(data), shares[..., :3]) <= 1.01


@pytest.mark.parametrize("compression", [1, 5, 8])  # none, LZW, deflate
def test_of_compressed_tiffs_too(scene: np.ndarray, compression: int) -> None:
    cv2 = pytest.importorskip("cv2")
    shares = np.dstack([scene, scene**2, 1 - scene])
    samples = np.round(shares * 4095).astype(np.uint16)
    flags = [int(cv2.IMWRITE_TIFF_COMPRESSION), compression]
    data = cv2.imencode(".tiff", samples[..., ::-1], flags)[1].tobytes()
    assert difference(load_image(data), shares) <= 1.01


def test_grey_with_alpha_of_sixteen_bits(scene: np.ndarray) -> None:
    samples = np.round(scene * 4095).astype(np.uint16)
    data = png16(np.dstack([samples, np.full_like(samples, 65535)]))
    assert difference(load_image(data), scene) <= 1.01


def test_deep_colours_are_turned_upright(scene: np.ndarray) -> None:
    samples = np.round(np.dstack([scene] * 3) * 4095).astype(np.uint16)
    exif: Any = Image.Exif()
    exif[0x0112] = 6
    image = load_image(png16(samples, exif=exif.tobytes()))
    assert difference(image, np.rot90(scene, -1)) <= 1.01


def test_a_narrow_window_is_stretched(scene: np.ndarray) -> None:
    """Galaxy's microscopes store 33069 to 36863."""
    samples = np.round(33069 + scene * (36863 - 33069)).astype(np.uint16)
    image = load_image(encoded(samples))[..., 0]
    assert image.min() == 0
    assert image.max() == 255
    assert np.corrcoef(image.ravel(), scene.ravel())[0, 1] > 0.999


def test_dead_pixels_decide_nothing(rng: np.random.Generator) -> None:
    shares = rng.uniform(0.1, 0.9, (200, 320))
    samples = np.round(shares * 4095).astype(np.uint16)
    samples[5, 7], samples[8, 9] = 65535, 0
    image = load_image(encoded(samples))
    samples[5, 7] = 4095
    assert difference(image, samples / 4095) <= 1.01


@pytest.mark.parametrize(
    ("kind", "marks"),
    [
        (np.uint16, (0,)),
        (np.uint16, (65535,)),
        (np.uint16, (0, 65535)),
        (np.int32, (-9999,)),
        (np.float32, (-9999,)),
        (np.float32, (-3.4e38,)),
    ],
)
def test_marks_for_no_data_decide_nothing(
    scene: np.ndarray, kind: Any, marks: tuple[float, ...]
) -> None:
    """A narrow window would be one grey beside the mark of its border."""
    samples = np.round(33069 + scene * (36863 - 33069)).astype(kind)
    plain = load_image(encoded(samples[len(marks) :], "TIFF"))
    for row, mark in enumerate(marks):
        samples[row] = mark
    image = load_image(encoded(samples, "TIFF"))
    assert np.array_equal(image[len(marks) :], plain)
    for row, mark in enumerate(marks):
        assert (image[row] == (255 if mark == 65535 else 0)).all()


@pytest.mark.parametrize(
    ("samples", "shares"),
    [
        (np.linspace(0, 1, 100, dtype=np.float32), np.linspace(0, 1, 100)),
        (np.linspace(0, 255, 100, dtype=np.float32), np.linspace(0, 1, 100)),
        (np.linspace(-40, 120, 100, dtype=np.float32), np.linspace(0, 1, 100)),
        (np.linspace(0, 3000, 100, dtype=np.float32), np.linspace(0, 1, 100)),
        (np.linspace(20.0, 30.0, 100, dtype=np.float32), np.linspace(0, 1, 100)),
        (np.linspace(-1000, 3000, 100).astype(np.int32), np.linspace(0, 1, 100)),
        (np.linspace(0, 2**24 - 1, 100).astype(np.int32), np.linspace(0, 1, 100)),
        (np.full(100, 7.0, np.float32), np.full(100, 7 / 255)),
    ],
)
def test_floating_point_and_signed_samples(samples: np.ndarray, shares: np.ndarray) -> None:
    image = load_image(encoded(samples.reshape(10, 10), "TIFF"))
    assert difference(image, shares.reshape(10, 10)) <= 1.01


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("<i2", -1000, 3000),
        (">i2", -1000, 3000),
        ("<u4", 0, 2**32 - 1),
        ("<u4", 0, 4095),
        ("<i4", 0, 65535),
        ("<i4", -(2**31), 2**31 - 1),
        (">u2", 0, 4095),
        (">f4", 0, 1),
    ],
)
def test_types_of_tiff(kind: str, low: int, high: int) -> None:
    samples = np.linspace(low, high, 100).astype(kind).reshape(10, 10)
    image = load_image(tiff(samples))
    assert difference(image, np.linspace(0, 1, 100).reshape(10, 10)) <= 1.01


def test_nan_is_black_and_infinity_white() -> None:
    samples = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    samples[0, 0], samples[0, 1], samples[0, 2] = np.nan, np.inf, -np.inf
    image = load_image(encoded(samples, "TIFF"))[..., 0]
    assert image[0, :3].tolist() == [0, 255, 0]
    assert image[9, 9] == 255


def test_nothing_but_nan() -> None:
    with pytest.raises(ImageError, match="no finite sample"):
        load_image(encoded(np.full((4, 4), np.nan, np.float32), "TIFF"))


def test_full_is_the_types_own_range(caplog: pytest.LogCaptureFixture) -> None:
    samples = np.arange(64, dtype=np.uint16).reshape(8, 8) * 64
    image = load_image(encoded(samples), range="full")
    assert np.array_equal(image[..., 0], samples >> 8)
    assert caplog.records == []
    with pytest.raises(ImageError, match="no full range"):
        load_image(encoded(samples.astype(np.float32), "TIFF"), range="full")


def test_a_given_range_cuts_what_is_beyond() -> None:
    samples = np.array([[0, 1000, 1500, 2000, 65535]], np.uint16)
    image = load_image(encoded(samples), range=(1000, 2000))
    assert image[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_a_given_range_counts_for_eight_bits_too() -> None:
    samples = np.array([[0, 50, 100, 200]], np.uint8)
    assert load_image(encoded(samples), range=(0, 100))[0, :, 1].tolist() == [0, 128, 255, 255]
    assert load_image(encoded(samples))[0, :, 1].tolist() == [0, 50, 100, 200]
    rgb = np.dstack([samples] * 3)
    assert load_image(rgb, range=(0, 100))[0, :, 1].tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize(
    "wrong", ["all", (1,), (2, 1), (1, 1), (0, float("nan")), (0, 10**400), None, 5, ("a", "b")]
)
def test_a_range_that_is_none(wrong: Any) -> None:
    with pytest.raises(OptionError, match="LOW,HIGH"):
        load_image(encoded(np.zeros((2, 2), np.uint8)), range=wrong)


def test_a_constant_is_not_stretched(caplog: pytest.LogCaptureFixture) -> None:
    samples = np.full((8, 8), 2048, np.uint16)
    image = load_image(encoded(samples))
    assert set(image.ravel().tolist()) == {128}


def test_large_arrays_are_scaled_in_parts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    shares = np.linspace(0, 1, 3_000_000)
    scaled = eight_bits(shares, sample_range="auto", name="x")
    assert np.abs(scaled - shares * 255).max() <= 0.51


def test_two_levels_are_no_mark_beside_a_picture() -> None:
    samples = np.zeros((20, 20), np.uint16)
    samples[5:9, 5:9], samples[12:15] = 1000, 60000
    assert np.unique(load_image(encoded(samples))).tolist() == [0, 3, 234]


@pytest.mark.parametrize("kind", ["<u2", "<f4", ">f4"])
def test_white_may_be_zero(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of deep samples Pillow passes the tag over, which X-ray scanners and gel imagers write."""
    samples = np.linspace(0, 1000, 100).astype(kind).reshape(10, 10)
    image = load_image(tiff(samples, photometric=0), range=(0, 1000))
    assert difference(image, np.linspace(1, 0, 100).reshape(10, 10)) <= 1.01
    load_image(tiff(samples, photometric=0))
    assert "0 is read as white" in caplog.text


def test_signed_samples_of_eight_bits() -> None:
    samples = np.linspace(-128, 127, 100).astype("i1").reshape(10, 10)
    image = load_image(tiff(samples))
    assert difference(image, np.linspace(0, 1, 100).reshape(10, 10)) <= 1.01
