"""Geometry, compared with the code that SAM's authors published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from samedge.errors import ImageError, PromptError
from samedge.pixels import frames as transforms
from samedge.pixels.frames import (
    encoder_input_from_image,
    input_coords_from_original,
    input_size_from_original,
    logits_from_low_res,
    low_res_logits_from_mask,
    masks_from_low_res,
    resize_longest_side,
)

SIZES = [
    (1, 1),
    (1, 37),
    (37, 1),
    (1, 127),
    (101, 67),
    (66, 99),
    (64, 64),
    (63, 65),
    (480, 641),
    (999, 3),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("target_length", [64, 320])
def test_resize_equals_the_reference_to_the_pixel(
    size: tuple[int, int], target_length: int, rng: np.random.Generator
) -> None:
    reference = pytest.importorskip("segment_anything.utils.transforms")
    transform = reference.ResizeLongestSide(target_length)
    if min(transform.get_preprocess_shape(*size, target_length)) == 0:
        assert min(input_size_from_original(size, target_length)) == 1
        return
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = transform.apply_image(image)
    assert np.array_equal(resize_longest_side(image, target_length), expected)
    coords = rng.uniform(0, 1, (4, 2)) * size[::-1]
    np.testing.assert_allclose(
        input_coords_from_original(coords, size, expected.shape[:2]),
        transform.apply_coords(coords, size),
        rtol=1e-6,
    )


def save_exif(path: Path, rgb: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(rgb).save(path, exif=exif)


ODD_FILES: dict[str, Callable[[Path, np.ndarray], object]] = {
    "1x1": lambda path, rgb: Image.fromarray(rgb[:1, :1]).save(path),
    "1xN": lambda path, rgb: Image.fromarray(rgb[:1]).save(path),
    "Nx1": lambda path, rgb: Image.fromarray(rgb[:, :1]).save(path),
    "odd size": lambda path, rgb: Image.fromarray(rgb).save(path),
    "grey": lambda path, rgb: Image.fromarray(rgb[..., 0]).save(path),
    "RGBA": lambda path, rgb: Image.fromarray(np.dstack([rgb, rgb[..., :1]])).save(path),
    "EXIF": save_exif,
    "16-bit": lambda path, rgb: Image.fromarray(rgb[..., 0].astype(np.uint16) * 257 + 3).save(path),
    "palette": lambda path, rgb: Image.fromarray(rgb).quantize(17).save(path),
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_odd_files_reach_the_encoder_as_in_the_reference(
    kind: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """OpenCV, ``ResizeLongestSide`` and ``Sam.preprocess`` against file, resize, pad, normalise."""
    cv2, torch = pytest.importorskip("cv2"), pytest.importorskip("torch")
    reference = pytest.importorskip("segment_anything.utils.transforms")
    modeling = pytest.importorskip("segment_anything.modeling")
    from samedge.models.layers import Normalize

    side, path = 64, tmp_path / "photo.png"
    ODD_FILES[kind](path, rng.integers(0, 256, (47, 31, 3), dtype=np.uint8))
    read = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    resized = reference.ResizeLongestSide(side).apply_image(read)
    normalize = Normalize()
    stand_in = SimpleNamespace(
        pixel_mean=normalize.mean[0],
        pixel_std=normalize.std[0],
        image_encoder=SimpleNamespace(img_size=side),
    )
    chw = torch.as_tensor(resized).permute(2, 0, 1).contiguous()
    expected = modeling.Sam.preprocess(stand_in, chw[None])
    pixels = encoder_input_from_image(transforms.load_image(path), side)
    height, width = resized.shape[:2]
    assert np.array_equal(pixels[0, :height, :width], resized)
    difference = np.abs(normalize(torch.from_numpy(pixels)).numpy() - expected.numpy())
    print(f"padding differs by {difference.max():.4f}")
    assert not difference[..., :height, :width].any()
    assert difference.max() <= 0.5 / 57.12  # half a grey level: the mean rounded to uint8


def test_real_photograph_equals_the_reference(shared_data: Path) -> None:
    reference = pytest.importorskip("segment_anything.utils.transforms")
    photos = sorted((shared_data / "eval").rglob("*.jpg"))[:3]
    for image in map(transforms.load_image, photos):
        expected = reference.ResizeLongestSide(1024).apply_image(image)
        assert np.array_equal(resize_longest_side(image, 1024), expected)


def test_every_size_equals_the_reference() -> None:
    reference = pytest.importorskip("segment_anything.utils.transforms")
    shape = reference.ResizeLongestSide.get_preprocess_shape
    for height in range(1, 130):
        for width in (1, 64, 97, 128):
            expected = tuple(max(side, 1) for side in shape(height, width, 64))
            assert input_size_from_original((height, width), 64) == expected


def test_padding_is_right_and_below_with_the_rounded_mean() -> None:
    square = encoder_input_from_image(np.zeros((32, 64, 3), np.uint8), 64)
    assert square.shape == (1, 64, 64, 3)
    assert square.dtype == np.uint8
    assert not square[0, :32].any()
    assert (square[0, 32:] == transforms.PAD_VALUE).all()
    tall = encoder_input_from_image(np.zeros((64, 16, 3), np.uint8), 64)
    assert not tall[0, :, :16].any()
    assert (tall[0, :, 16:] == transforms.PAD_VALUE).all()


def test_wrong_image_is_refused() -> None:
    with pytest.raises(ImageError, match="dtype float32"):
        encoder_input_from_image(np.zeros((32, 64, 3), np.float32), 64)


def smooth_logits(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Blobs of both signs, as a decoder makes them."""
    coarse = rng.normal(0, 4, (count, side // 8, side // 8)).astype(np.float32)
    return logits_from_low_res(coarse, (side, side), (side, side), target_length=side)


def reference_logits(
    low_res: np.ndarray, input_size: tuple[int, int], original_size: tuple[int, int], side: int
) -> np.ndarray:
    """What SAM's own ``postprocess_masks`` makes of the logits."""
    torch = pytest.importorskip("torch")
    modeling = pytest.importorskip("segment_anything.modeling")
    sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=side))
    batch = torch.from_numpy(low_res)[None]
    result = modeling.Sam.postprocess_masks(sam, batch, input_size, original_size)
    return np.asarray(result[0].numpy())


@pytest.mark.parametrize("size", [*SIZES, (1080, 1920), (50, 200), (700, 500)])
def test_upscaling_equals_the_reference(size: tuple[int, int], rng: np.random.Generator) -> None:
    side = 256
    input_size = input_size_from_original(size, side)
    low_res = smooth_logits(rng, 2, side // 4)
    expected = reference_logits(low_res, input_size, size, side)
    measured = logits_from_low_res(low_res, input_size, size, target_length=side)
    print(f"largest difference {np.abs(measured - expected).max():.2e}")
    np.testing.assert_allclose(measured, expected, atol=2e-5)
    masks = masks_from_low_res(low_res, input_size, size, target_length=side)
    unsure = np.abs(expected) < 1e-4
    assert np.array_equal(masks | unsure, (expected > 0) | unsure)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5])
def test_masks_are_the_upscaled_logits_cut(threshold: float, rng: np.random.Generator) -> None:
    low_res = smooth_logits(rng, 3, 64) - np.array([0, 3, 9], np.float32)[:, None, None]
    arguments = ((192, 256), (333, 444))
    logits = logits_from_low_res(low_res, *arguments, target_length=256)
    masks = masks_from_low_res(low_res, *arguments, target_length=256, threshold=threshold)
    assert masks.dtype == np.bool_
    assert masks.any()
    assert (masks != (logits > threshold)).mean() < 1e-5  # sums in another order may round


def test_one_positive_logit_makes_a_small_mask() -> None:
    low_res = np.full((1, 64, 64), -1, np.float32)
    low_res[0, 20, 30] = 5
    masks = masks_from_low_res(low_res, (256, 256), (512, 512), target_length=256)
    logits = logits_from_low_res(low_res, (256, 256), (512, 512), target_length=256)
    assert 0 < masks.sum() < 400
    assert np.array_equal(masks, logits > 0)


def test_no_positive_logit_makes_an_empty_mask() -> None:
    low_res = np.full((2, 64, 64), -1, np.float32)
    masks = masks_from_low_res(low_res, (256, 100), (512, 200), target_length=256)
    assert masks.shape == (2, 512, 200)
    assert not masks.any()


def test_logits_in_the_padding_are_not_seen() -> None:
    low_res = np.full((1, 64, 64), -1, np.float32)
    low_res[0, 40:] = 5
    masks = masks_from_low_res(low_res, (128, 256), (256, 512), target_length=256)
    assert not masks.any()


def test_mask_prompt_is_signed_coverage() -> None:
    mask = np.zeros((128, 256), np.bool_)
    mask[:, :128] = True
    prompt = low_res_logits_from_mask(mask, (128, 256), 256)
    assert prompt.shape == (64, 64)
    assert prompt.dtype == np.float32
    assert (prompt[:32, :32] == transforms.MASK_PROMPT_LOGIT).all()
    assert (prompt[:, 32:] == -transforms.MASK_PROMPT_LOGIT).all()
    assert (prompt[32:] == -transforms.MASK_PROMPT_LOGIT).all()


def test_mask_prompt_comes_back_as_the_mask(rng: np.random.Generator) -> None:
    rows, columns = np.mgrid[:300, :417]
    mask = (rows - 140) ** 2 + (columns - 200) ** 2 < 90**2
    size = input_size_from_original((300, 417), 256)
    prompt = low_res_logits_from_mask(mask, (300, 417), 256)
    back = masks_from_low_res(prompt[None], size, (300, 417), target_length=256)[0]
    iou = (mask & back).sum() / (mask | back).sum()
    print(f"IoU {iou:.4f}")
    assert iou > 0.98


def test_mask_prompt_of_another_size_is_refused() -> None:
    with pytest.raises(PromptError, match=r"10x10 and the image 20x30"):
        low_res_logits_from_mask(np.zeros((10, 10), np.bool_), (20, 30), 256)
