"""Geometry, compared with the code that SAM's authors published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import BundleError, ImageError, PromptError
from samedge.pixels.frames import MASK_PROMPT_LOGIT, PAD_VALUE, SQUARE, Frame, View
from samedge.pixels.images import load_image
from tests.toys.pictures import resizing_slack

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
        assert min(Frame(target_length=target_length).input_size(size)) == 1
        return
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = transform.apply_image(image)
    frame = Frame(target_length=target_length)
    difference = np.abs(frame.resized(image) - expected.astype(np.int64))
    assert difference.max() <= resizing_slack(size)
    coords = rng.uniform(0, 1, (4, 2)) * size[::-1]
    np.testing.assert_allclose(
        frame.view(size).input_coords(coords),
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
    image = load_image(path)
    pixels = Frame(target_length=side).view_of(image).encoder_input(image)
    height, width = resized.shape[:2]
    assert np.array_equal(pixels[0, :height, :width], resized)
    difference = np.abs(normalize(torch.from_numpy(pixels)).numpy() - expected.numpy())
    print(f"padding differs by {difference.max():.4f}")
    assert not difference[..., :height, :width].any()
    assert difference.max() <= 0.5 / 57.12  # half a grey level: the mean rounded to uint8


def test_real_photograph_equals_the_reference(shared_data: Path) -> None:
    reference = pytest.importorskip("segment_anything.utils.transforms")
    photos = sorted((shared_data / "eval").rglob("*.jpg"))[:3]
    for image in map(load_image, photos):
        expected = reference.ResizeLongestSide(1024).apply_image(image)
        assert np.array_equal(Frame(target_length=1024).resized(image), expected)


def test_every_size_equals_the_reference() -> None:
    reference = pytest.importorskip("segment_anything.utils.transforms")
    shape = reference.ResizeLongestSide.get_preprocess_shape
    for height in range(1, 130):
        for width in (1, 64, 97, 128):
            expected = tuple(max(side, 1) for side in shape(height, width, 64))
            assert Frame(target_length=64).input_size((height, width)) == expected


def encoder_input(frame: Frame, *size: int) -> np.ndarray:
    """Of a black image."""
    image = np.zeros((*size, 3), np.uint8)
    return frame.view_of(image).encoder_input(image)


@pytest.mark.parametrize("pad_value", [PAD_VALUE, (0, 0, 0), (255, 1, 2)])
def test_padding_is_right_and_below(pad_value: tuple[int, int, int]) -> None:
    frame = Frame(target_length=64, pad_value=pad_value)
    square = encoder_input(frame, 32, 64)
    assert square.shape == frame.input_shape == (1, 64, 64, 3)
    assert square.dtype == np.uint8
    assert not square[0, :32].any()
    assert (square[0, 32:] == pad_value).all()
    tall = encoder_input(frame, 64, 16)
    assert not tall[0, :, :16].any()
    assert (tall[0, :, 16:] == pad_value).all()


def test_wrong_image_is_refused() -> None:
    with pytest.raises(ImageError, match="dtype float32"):
        Frame(target_length=64).view_of(np.zeros((32, 64, 3), np.float32))
    with pytest.raises(ImageError, match="image is 32x64, and this view is of one of 64x32"):
        Frame(target_length=64).view((64, 32)).encoder_input(np.zeros((32, 64, 3), np.uint8))


def smooth_logits(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Blobs of both signs, as a decoder makes them."""
    coarse = rng.normal(0, 4, (count, side // 8, side // 8)).astype(np.float32)
    return Frame(target_length=side).view((side, side)).logits(coarse)


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
    view = Frame(target_length=side).view(size)
    low_res = smooth_logits(rng, 2, side // 4)
    expected = reference_logits(low_res, view.input_size, size, side)
    measured = view.logits(low_res)
    print(f"largest difference {np.abs(measured - expected).max():.2e}")
    np.testing.assert_allclose(measured, expected, atol=2e-5)
    masks = view.masks(low_res)
    unsure = np.abs(expected) < 1e-4
    assert np.array_equal(masks | unsure, (expected > 0) | unsure)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5])
def test_masks_are_the_upscaled_logits_cut(threshold: float, rng: np.random.Generator) -> None:
    low_res = smooth_logits(rng, 3, 64) - np.array([0, 3, 9], np.float32)[:, None, None]
    view = Frame(target_length=256).view((333, 444))
    logits = view.logits(low_res)
    masks = view.masks(low_res, threshold=threshold)
    assert masks.dtype == np.bool_
    assert masks.any()
    assert (masks != (logits > threshold)).mean() < 1e-5  # sums in another order may round


def test_one_positive_logit_makes_a_small_mask() -> None:
    low_res = np.full((1, 64, 64), -1, np.float32)
    low_res[0, 20, 30] = 5
    view = Frame(target_length=256).view((512, 512))
    masks, logits = view.masks(low_res), view.logits(low_res)
    assert 0 < masks.sum() < 400
    assert np.array_equal(masks, logits > 0)


def test_no_positive_logit_makes_an_empty_mask() -> None:
    low_res = np.full((2, 64, 64), -1, np.float32)
    masks = Frame(target_length=256).view((512, 200)).masks(low_res)
    assert masks.shape == (2, 512, 200)
    assert not masks.any()


def test_logits_in_the_padding_are_not_seen() -> None:
    low_res = np.full((1, 64, 64), -1, np.float32)
    low_res[0, 40:] = 5
    masks = Frame(target_length=256).view((256, 512)).masks(low_res)
    assert not masks.any()


def test_mask_prompt_is_signed_coverage() -> None:
    mask = np.zeros((128, 256), np.bool_)
    mask[:, :128] = True
    prompt = Frame(target_length=256).view((128, 256)).mask_prompt(mask)
    assert prompt.shape == (64, 64)
    assert prompt.dtype == np.float32
    assert (prompt[:32, :32] == MASK_PROMPT_LOGIT).all()
    assert (prompt[:, 32:] == -MASK_PROMPT_LOGIT).all()
    assert (prompt[32:] == -MASK_PROMPT_LOGIT).all()


def test_mask_prompt_comes_back_as_the_mask(rng: np.random.Generator) -> None:
    rows, columns = np.mgrid[:300, :417]
    mask = (rows - 140) ** 2 + (columns - 200) ** 2 < 90**2
    view = Frame(target_length=256).view((300, 417))
    prompt = view.mask_prompt(mask)
    back = view.masks(prompt[None])[0]
    iou = (mask & back).sum() / (mask | back).sum()
    print(f"IoU {iou:.4f}")
    assert iou > 0.98


def test_mask_prompt_of_another_size_is_refused() -> None:
    with pytest.raises(PromptError, match=r"10x10 and the image 20x30"):
        Frame(target_length=256).view((20, 30)).mask_prompt(np.zeros((10, 10), np.bool_))


# ---- square frames


STRETCHED = Frame(target_length=64, resize=SQUARE)


def test_square_frame_has_no_padding() -> None:
    picture = np.zeros((30, 100, 3), np.uint8)
    picture[:, 50:] = 200
    view = STRETCHED.view_of(picture)
    assert view.input_size == (64, 64)
    assert view.low_res_size == (16, 16)
    pixels = view.encoder_input(picture)
    expected = Image.fromarray(picture).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels[0], np.asarray(expected))
    assert np.allclose(view.input_coords(np.array([[100, 30], [50, 15]])), [[64, 64], [32, 32]])


def test_square_frame_upscales_as_sam_2_does(rng: np.random.Generator) -> None:
    """``SAM2Transforms.postprocess_masks``: one bilinear interpolation to the original size."""
    torch = pytest.importorskip("torch")
    low_res = smooth_logits(rng, 2, 64)
    for size in ((30, 100), (200, 150), (64, 64), (1, 7)):
        view = STRETCHED.view(size)
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(low_res)[None], size, mode="bilinear", align_corners=False
        )[0].numpy()
        np.testing.assert_allclose(view.logits(low_res), expected, atol=2e-5)
        unsure = np.abs(expected) < 1e-4
        assert np.array_equal(view.masks(low_res) | unsure, (expected > 0) | unsure)


def test_square_mask_prompt_comes_back_as_the_mask() -> None:
    rows, columns = np.mgrid[:300, :417]
    mask = (rows - 140) ** 2 + (columns - 200) ** 2 < 90**2
    view = Frame(target_length=256, resize=SQUARE).view((300, 417))
    back = view.masks(view.mask_prompt(mask)[None])[0]
    assert (mask & back).sum() / (mask | back).sum() > 0.98


# ---- regions


def test_region_is_seen_as_an_image_of_its_own(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    frame, region = Frame(target_length=64), (20, 10, 100, 50)
    view = frame.view_of(image, region=region)
    alone = np.ascontiguousarray(image[10:50, 20:100])
    own = frame.view_of(alone)
    assert view.viewed_size == (40, 80)
    assert view.input_size == own.input_size
    assert np.array_equal(view.encoder_input(image), own.encoder_input(alone))
    point = np.array([[30.0, 40.0]])
    assert np.array_equal(view.input_coords(point), own.input_coords(point - (20, 10)))
    low_res = smooth_logits(rng, 2, 64)[:, :16, :16]
    masks, logits = view.masks(low_res), view.logits(low_res)
    assert masks.shape == logits.shape == (2, 90, 120)
    assert np.array_equal(masks[:, 10:50, 20:100], own.masks(low_res))
    assert np.array_equal(logits[:, 10:50, 20:100], own.logits(low_res))
    outside = np.ones((90, 120), np.bool_)
    outside[10:50, 20:100] = False
    assert not masks[:, outside].any()
    assert (logits[:, outside] == -MASK_PROMPT_LOGIT).all()
    assert np.array_equal(view.stability(low_res), own.stability(low_res))


def test_mask_prompt_of_a_region_is_its_part_of_the_mask() -> None:
    mask = np.zeros((90, 120), np.bool_)
    mask[18:42, 28:60] = True
    mask[:5, :5] = True  # outside of the region
    view = Frame(target_length=64).view((90, 120), region=(20, 10, 84, 74))
    prompt = view.mask_prompt(mask)
    assert (prompt[2:8, 2:10] == MASK_PROMPT_LOGIT).all()
    assert (prompt > -MASK_PROMPT_LOGIT).sum() == 6 * 8


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (5, 5, 3, 9), (-1, 0, 5, 5), (0, 0, 121, 5)])
def test_region_outside_is_refused(region: tuple[int, int, int, int]) -> None:
    with pytest.raises(ImageError, match=r"empty or not inside the image of 120x90"):
        View(Frame(target_length=64), (90, 120), region)


@pytest.mark.parametrize("region", [(0.5, 0, 9, 9), (0, 0, 9), "abcd", 5])
def test_region_of_no_whole_numbers_is_refused(region: Any) -> None:
    with pytest.raises(ImageError, match="expected four whole numbers"):
        View(Frame(target_length=64), (90, 120), region)


def test_regions_of_other_sequences_are_the_same() -> None:
    frame, expected = Frame(target_length=64), (0, 0, 30, 20)
    others: tuple[Any, ...] = (list(expected), np.array(expected))
    for given in others:
        assert frame.view((90, 120), region=given) == frame.view((90, 120), region=expected)


# ---- what a frame may say


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("resize", "squash", "resize is 'squash', and this samedge knows longest_side_bilinear"),
        ("color", "BGR", "color is 'BGR', and this samedge knows RGB"),
        ("layout", "NCHW", "layout is 'NCHW', and this samedge knows NHWC"),
        ("target_length", 100, "multiple of 16"),
        ("target_length", 16384, "to 8192"),
        ("pad_value", (0, 0, 300), "0 to 255"),
        ("std", (1.0, 1.0, float("nan")), "finite"),
    ],
)
def test_unknown_frames_are_refused(field: str, value: object, reason: str) -> None:
    fields: dict[str, object] = {"target_length": 64, field: value}
    with pytest.raises(BundleError, match=reason):
        Frame(**fields)  # type: ignore[arg-type]
