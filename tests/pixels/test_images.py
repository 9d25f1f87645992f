"""Every kind of picture file becomes the RGB array that the module's docstring promises."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import ImageError
from samedge.pixels.folder_listing import image_files
from samedge.pixels.image_files import pictures_in
from samedge.pixels.images import load_image
from tests.toys.pictures import encoded


def test_rgb_is_unchanged(rgb: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(Image.fromarray(rgb)))
    for source in (path, str(path), path.read_bytes(), Image.fromarray(rgb), rgb):
        assert np.array_equal(load_image(source), rgb)


def test_an_open_file_is_read(rgb: np.ndarray, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(rgb))
    (tmp_path / "photo.png").write_bytes(data)
    assert np.array_equal(load_image(io.BytesIO(data)), rgb)
    with (tmp_path / "photo.png").open("rb") as file:
        assert np.array_equal(load_image(file), rgb)
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(file)
    with pytest.raises(ImageError, match="mode 'rb'"):
        load_image(io.StringIO("text"))  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [None, 5, [[0]], {"path": "a.png"}])
def test_what_is_no_source_is_named(source: Any) -> None:
    with pytest.raises(ImageError, match=f"The image is a {type(source).__name__}, expected"):
        load_image(source)


def test_an_address_is_named() -> None:
    with pytest.raises(ImageError, match="download it first"):
        load_image("https://example.org/a.jpg")


def test_array_is_made_contiguous(rgb: np.ndarray) -> None:
    assert load_image(rgb[:, ::-1]).flags["C_CONTIGUOUS"]


def test_grey_is_copied_to_three_channels(rgb: np.ndarray) -> None:
    grey = rgb[..., 0]
    assert np.array_equal(load_image(encoded(Image.fromarray(grey))), np.dstack([grey] * 3))


def test_one_bit_becomes_black_and_white() -> None:
    bits = np.array([[True, False], [False, True]])
    loaded = load_image(encoded(Image.fromarray(bits)))
    assert np.array_equal(loaded[..., 1], np.where(bits, 255, 0))


def test_transparency_is_dropped_not_blended(rgb: np.ndarray) -> None:
    alpha = np.zeros((*rgb.shape[:2], 1), np.uint8)
    assert np.array_equal(load_image(encoded(Image.fromarray(np.dstack([rgb, alpha])))), rgb)


def test_grey_with_transparency_is_dropped_too(rgb: np.ndarray) -> None:
    grey = rgb[..., 0]
    picture = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(grey * 0)])
    assert np.array_equal(load_image(encoded(picture)), np.dstack([grey] * 3))


@pytest.mark.parametrize("transparency", [None, 1, b"\0\x80"])
def test_palette_is_looked_up(transparency: int | bytes | None) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "L").convert("P")
    colours = [(10, 20, 30), (200, 0, 7), (1, 2, 3)]
    picture.putpalette([value for colour in colours for value in colour])
    options: dict[str, Any] = {} if transparency is None else {"transparency": transparency}
    expected = np.array(colours, np.uint8)[np.array([[0, 1], [2, 1]])]
    assert np.array_equal(load_image(encoded(picture, **options)), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_the_high_byte(kind: str) -> None:
    samples = (np.arange(12).reshape(3, 4) * 5000 + 255).astype(np.uint16)
    loaded = load_image(encoded(Image.fromarray(samples), kind))
    assert np.array_equal(loaded, np.dstack([(samples >> 8).astype(np.uint8)] * 3))


def test_thirty_two_bit_integers_that_fit_are_sixteen_bit_samples() -> None:
    samples = np.array([[0, 65535], [256, 40000]], np.int32)
    loaded = load_image(encoded(Image.fromarray(samples), "TIFF"))
    assert loaded[..., 0].tolist() == [[0, 255], [1, 156]]


def test_cmyk_is_converted() -> None:
    loaded = load_image(encoded(Image.new("CMYK", (2, 3), (0, 255, 255, 0)), "TIFF"))
    assert loaded.shape == (3, 2, 3)
    assert loaded[0, 0].tolist() == [255, 0, 0]


def test_first_frame_of_an_animation_counts(rgb: np.ndarray) -> None:
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert np.array_equal(load_image(data), rgb)


@pytest.mark.parametrize("kind", ["rgb", "rgba", "grey", "palette", "grey16", "rgb16"])
def test_same_pixels_as_opencv(kind: str, rgb: np.ndarray) -> None:
    """SAM's own examples read files with OpenCV's IMREAD_COLOR."""
    cv2 = pytest.importorskip("cv2")
    wide = rgb.astype(np.uint16) * 256 + 77
    encoders: dict[str, Any] = {
        "rgb": lambda: encoded(Image.fromarray(rgb)),
        "rgba": lambda: encoded(Image.fromarray(np.dstack([rgb, rgb[..., 0]]))),
        "grey": lambda: encoded(Image.fromarray(rgb[..., 0])),
        "palette": lambda: encoded(Image.fromarray(rgb).quantize(8)),
        "grey16": lambda: encoded(Image.fromarray(wide[..., 0])),
        "rgb16": lambda: cv2.imencode(".png", wide)[1].tobytes(),
    }
    data = encoders[kind]()
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(load_image(data), expected)


ASSETS = Path(__file__).parents[1] / "assets"
"""Red on the left, green above blue on the right, 80 x 48, written by pillow-heif; the other one
with orientation 6, so that red is above."""


def test_photos_of_phones() -> None:
    pytest.importorskip("pi_heif")
    red, green, blue = (200, 30, 30), (30, 200, 30), (30, 30, 200)
    for name, size, corners in (
        ("flags.heic", (48, 80, 3), (red, green, red, blue)),
        ("turned.heic", (80, 48, 3), (red, red, blue, green)),
    ):
        image = load_image(ASSETS / name)
        assert image.shape == size
        found = image[[4, 4, -4, -4], [4, -4, 4, -4]]
        assert np.abs(found.astype(int) - corners).max() <= 3
        assert np.array_equal(load_image((ASSETS / name).read_bytes()), image)
    assert ".heic" not in Image.registered_extensions()  # Pillow is the whole program's
    data = (ASSETS / "flags.heic").read_bytes()
    for end in (16, 100, len(data) // 2, len(data) - 20):
        with pytest.raises(ImageError, match=r"^[^\n]*truncated or damaged[^\n]*$"):
            load_image(data[:end])


def test_photos_of_phones_without_their_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageError, match=r"HEIC photo: `pip install pi-heif`.*samedge\[heic\]"):
        load_image(ASSETS / "flags.heic")


def test_which_files_of_a_folder_are_pictures(tmp_path: Path) -> None:
    for name in ("b10.JPG", "b9.jfif", "a.avif", "._a.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "c.png").touch()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.avif", "b9.jfif", "b10.JPG"]
    assert [path.name for path in image_files(tmp_path)] == ["a.avif", "b10.JPG", "b9.jfif"]
