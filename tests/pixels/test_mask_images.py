"""Masks as tools write them, each read by what it is."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from samedge.errors import ImageError
from samedge.pixels.mask_images import load_mask
from tests.toys.pictures import tiff

_Y, _X = np.mgrid[:96, :128]
DISC: np.ndarray = (_Y - 48) ** 2 + (_X - 64) ** 2 < 30**2
SECOND: np.ndarray = (_Y - 20) ** 2 + (_X - 20) ** 2 < 10**2


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values)


def palette(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8)).convert("P")
    picture.putpalette([value for colour in colours for value in colour])
    return picture


def labels() -> np.ndarray:
    return np.where(SECOND, 7, np.where(DISC, 3, 0)).astype(np.uint8)


def cells() -> np.ndarray:
    """More than 300 areas of 5 x 5 numbered from 0 on."""
    numbered: np.ndarray = ((_Y // 5) * 26 + _X // 5).astype(np.uint16)
    return numbered


def soft(radius: float) -> Image.Image:
    return grey(DISC.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(radius))


def transparent(alpha: np.ndarray) -> Image.Image:
    photo = np.random.default_rng(0).integers(0, 256, (*DISC.shape, 3), dtype=np.uint8)
    return Image.fromarray(np.dstack([photo, alpha.astype(np.uint8)]))


VOC = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
DISC8 = DISC.astype(np.uint8)

CASES: dict[str, tuple[bytes, np.ndarray]] = {
    "255": (encoded(grey(DISC8 * 255)), DISC),
    "0 and 1": (encoded(grey(DISC8)), DISC),
    "0 and 38": (encoded(grey(DISC8 * 38)), DISC),
    "1 bit": (encoded(grey(DISC8 * 255).convert("1")), DISC),
    "VOC": (encoded(palette(DISC8, *VOC)), DISC),
    "VOC of one unset colour": (encoded(palette(DISC8 * 3, (0, 0, 0), (128, 0, 0))), DISC),
    "VOC of two objects": (encoded(palette(labels() // 3, *VOC)), DISC | SECOND),
    "inverted palette": (encoded(palette(~DISC, (255, 255, 255), (0, 0, 0))), DISC),
    "GIF": (encoded(grey(DISC8 * 255), "GIF"), DISC),
    "alpha": (encoded(transparent(DISC8 * 255)), DISC),
    "alpha of 0 and 1": (encoded(transparent(DISC8)), DISC),
    "grey and alpha": (
        encoded(Image.merge("LA", [grey(DISC8 * 0 + 9), grey(DISC8 * 255)])),
        DISC,
    ),
    "constant alpha": (
        encoded(Image.fromarray(np.dstack([DISC8 * 255] * 3 + [DISC8 * 0 + 255]))),
        DISC,
    ),
    "labels": (encoded(grey(labels())), DISC | SECOND),
    "labels with a void": (
        encoded(grey(np.where(SECOND, 255, DISC8 * 2).astype(np.uint8))),
        DISC | SECOND,
    ),
    "labels of 16 bits": (encoded(grey(labels().astype(np.uint16) * 1000)), DISC | SECOND),
    "labels of 32 bits": (tiff(labels().astype(np.int32) * 100_000), DISC | SECOND),
    "16 bits, white": (encoded(grey(DISC.astype(np.uint16) * 65535)), DISC),
    "floats": (tiff(DISC.astype(np.float32)), DISC),
    "colours on black": (
        encoded(Image.fromarray(np.dstack([DISC8 * 220, DISC8 * 20, DISC8 * 60]))),
        DISC,
    ),
    "RGB of grey": (encoded(Image.fromarray(np.dstack([DISC8] * 3))), DISC),
    "white JPEG": (encoded(grey(DISC8 * 255), "JPEG", quality=60), DISC),
    "colour JPEG of grey": (encoded(soft(1).convert("RGB"), "JPEG", quality=80), DISC),
    "soft edge": (encoded(soft(2)), DISC),
    "soft edge of 16 bits": (encoded(grey(np.asarray(soft(2)).astype(np.uint16) * 257)), DISC),
    "colour WebP of grey, a JPEG's kin": (
        encoded(grey(DISC8 * 255).convert("RGB"), "WEBP", quality=60),
        DISC,
    ),
    "floats of 0 and 255": (tiff(DISC.astype(np.float32) * 255), DISC),
    "labels as floats": (tiff(labels().astype(np.float32)), DISC | SECOND),
    "more labels than 256": (encoded(grey(cells())), cells() > 0),
    "labels of 32 bits to the top": (tiff(cells().astype(np.int32) * 4_000_000), cells() > 0),
    "everything": (encoded(grey(DISC8 * 0 + 255)), DISC | True),
}


@pytest.mark.parametrize("name", CASES)
def test_kinds_of_masks(name: str) -> None:
    data, expected = CASES[name]
    mask = load_mask(data, size=(96, 128))
    assert mask.dtype == np.bool_
    iou = (mask & expected).sum() / (mask | expected).sum()
    exact = "JPEG" not in name and "soft" not in name
    assert iou == 1 if exact else iou > 0.97


def noise(kind: Any = np.uint8) -> np.ndarray:
    top = np.iinfo(kind).max
    return np.random.default_rng(1).integers(0, top, DISC.shape, dtype=kind)


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (encoded(grey(DISC8 * 0)), "empty mask, it is black"),
    "empty palette": (encoded(palette(DISC8 * 0, *VOC)), "empty mask"),
    "photograph": (encoded(grey(noise())), "grey levels: it looks like a photograph"),
    "photograph of 16 bits": (encoded(grey(noise(np.uint16))), "photograph"),
    "colour photograph": (
        encoded(Image.fromarray(np.dstack([noise()] * 2 + [noise() // 2]))),
        "photograph",
    ),
    "palette photograph": (
        encoded(palette(noise() % 64, *[(i, i, 9) for i in range(64)])),
        "photograph",
    ),
    "few noisy levels": (encoded(grey(noise() % 16)), "changes from pixel to pixel"),
    "two flat colours": (
        encoded(Image.fromarray(np.where(DISC[..., None], (220, 60, 40), 90).astype(np.uint8))),
        "no black background",
    ),
    "floats beyond": (tiff(DISC.astype(np.float32) * 7.5), "beyond 0 to 1"),
    "no picture": (b"<html>", "web page"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_mask_is_refused(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(ImageError, match=reason):
        load_mask(data)


def test_another_size_is_refused() -> None:
    data = encoded(grey(DISC8))
    with pytest.raises(ImageError, match=r"96 x 128 \(height x width\).*has 128 x 96"):
        load_mask(data, size=(128, 96))


def test_orientation_counts() -> None:
    exif: Any = Image.Exif()
    exif[0x0112] = 6
    mask = load_mask(encoded(grey(labels()), exif=exif), value=7)
    assert np.array_equal(mask, np.rot90(SECOND, -1))


@pytest.mark.parametrize(
    ("picture", "value", "expected"),
    [
        (grey(labels()), 7, SECOND),
        (grey(labels().astype(np.uint16) * 100), 700, SECOND),
        (palette(labels() // 3, *VOC), 2, SECOND),
        (grey(DISC8 * 255), 0, ~DISC),
    ],
)
def test_one_value(picture: Image.Image, value: int, expected: np.ndarray) -> None:
    assert np.array_equal(load_mask(encoded(picture), value=value), expected & (labels() >= 0))


def test_a_value_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    path.write_bytes(encoded(grey(labels())))
    with pytest.raises(ImageError, match=r"m\.png is an empty mask, no pixel has the value 5"):
        load_mask(path, value=5)


def test_colours_have_no_single_value() -> None:
    with pytest.raises(ImageError, match="in colour"):
        load_mask(REFUSED["two flat colours"][0], value=1)
