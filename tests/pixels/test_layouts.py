"""Camera frames: as OpenCV turns them into RGB, and encoded without that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge import image_from_yuv
from samedge.errors import ImageError, OptionError
from samedge.pixels.frames import Frame
from samedge.pixels.layouts import YuvImage
from samedge.types import Array, Size

SIZES = [(2, 2), (4, 300), (300, 4), (270, 480), (722, 402)]
LAYOUTS = ("NV12", "I420", "YUYV")


def coarse(size: Size, rng: np.random.Generator) -> Array:
    """Levels that differ little from pixel to pixel, and in no colour that RGB lacks."""
    small = rng.integers(60, 190, (-(-size[0] // 40) + 1, -(-size[1] // 40) + 1), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))


def camera_frame(layout: str, size: Size, rng: np.random.Generator) -> Array:
    height, width = size
    brightness = coarse(size, rng)
    half = (height if layout == "YUYV" else height // 2, width // 2)
    blue, red = (coarse(half, rng) // 4 + 96 for _ in range(2))
    if layout == "I420":
        return np.concatenate([brightness.ravel(), blue.ravel(), red.ravel()]).reshape(-1, width)
    if layout == "NV12":
        pairs = np.stack([blue, red], axis=2).reshape(height // 2, width)
        return np.concatenate([brightness, pairs])
    return np.stack([brightness, np.stack([blue, red], axis=2).reshape(height, width)], axis=2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rgb_is_opencv_s(layout: str, size: Size, rng: np.random.Generator) -> None:
    cv2 = pytest.importorskip("cv2")
    frame = camera_frame(layout, size, rng)
    code = {"NV12": "NV12", "I420": "I420", "YUYV": "YUY2"}[layout]
    expected = cv2.cvtColor(frame, getattr(cv2, f"COLOR_YUV2RGB_{code}"))
    found = image_from_yuv(frame, layout).rgb()  # type: ignore[arg-type]
    assert np.abs(found.astype(np.int64) - expected).max() <= 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_encoder_s_input_is_that_of_the_rgb_image(
    layout: str, size: Size, rng: np.random.Generator
) -> None:
    image = image_from_yuv(camera_frame(layout, size, rng), layout)  # type: ignore[arg-type]
    view = Frame(target_length=64).view_of(image)
    exact = view.encoder_input(image.rgb())
    assert np.array_equal(view.encoder_input(image), exact)
    fast = Frame(target_length=64).with_rule("fast").view_of(image).encoder_input(image)
    assert np.abs(fast.astype(np.int64) - exact).mean() < 4


def test_a_region_is_that_of_the_rgb_image(rng: np.random.Generator) -> None:
    image = image_from_yuv(camera_frame("NV12", (200, 300), rng), "NV12")
    view = Frame(target_length=64).with_rule("fast").view_of(image, region=(3, 5, 250, 111))
    assert np.array_equal(view.encoder_input(image), view.encoder_input(image.rgb()))


def test_planes_are_views_of_the_frame_and_buffers_need_a_size(rng: np.random.Generator) -> None:
    frame = camera_frame("NV12", (64, 96), rng)
    flat = image_from_yuv(frame.tobytes(), "NV12", size=(64, 96))
    assert np.array_equal(flat.rgb(), image_from_yuv(frame, "NV12").rgb())
    for image in (
        image_from_yuv(frame, "NV12"),
        image_from_yuv(frame.ravel(), "NV12", size=(64, 96)),
    ):
        planes = (image.brightness, image.blue, image.red)
        assert all(np.shares_memory(plane, frame) for plane in planes)
        assert image.shape == (64, 96, 3)


def test_grey_stays_grey_in_every_matrix() -> None:
    frame = np.full((6, 4), 128, np.uint8)
    for matrix, level in (("bt601", 130), ("bt709", 130), ("jpeg", 128)):
        image = image_from_yuv(frame, "NV12", matrix=matrix)  # type: ignore[arg-type]
        assert (image.rgb() == level).all()


@pytest.mark.parametrize(
    ("frame", "layout", "size", "reason"),
    [
        (np.zeros((6, 3), np.uint8), "NV12", None, "odd side"),
        (np.zeros((6, 4), np.uint16), "NV12", None, "of uint16"),
        (np.zeros((5, 4), np.uint8), "NV12", None, "20 samples.*expected 18"),
        (np.zeros(24, np.uint8), "NV12", None, "0x0 pixels"),
        (np.zeros((4, 4), np.uint8), "YUYV", None, "0x0 pixels"),
        (bytes(24), "I420", (4, 6), "24 samples.*expected 36"),
        ("frame.raw", "NV12", None, "The frame is a str, expected an array or a buffer"),
        (None, "NV12", (4, 4), "The frame is a NoneType"),
        (bytes(24), "NV12", (4.0, 4.0), "size is .4.0, 4.0., expected"),
        (bytes(24), "NV12", (4,), "size is .4,., expected"),
    ],
)
def test_what_is_no_such_frame(frame: Any, layout: str, size: Size | None, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        image_from_yuv(frame, layout, size=size)  # type: ignore[arg-type]


def test_unknown_words() -> None:
    with pytest.raises(OptionError, match="expected NV12, I420 or YUYV"):
        image_from_yuv(np.zeros((6, 4), np.uint8), "NV21")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="bt601, bt709, jpeg"):
        image_from_yuv(np.zeros((6, 4), np.uint8), "NV12", matrix="rec")  # type: ignore[arg-type]
    assert isinstance(image_from_yuv(np.zeros((6, 4), np.uint8), "NV12"), YuvImage)
