"""Every kind of picture file becomes the RGB array that the module's docstring promises."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import samedge
from samedge.errors import ImageError
from samedge.pixels.folder_listing import image_files
from samedge.pixels.image_files import pictures_in
from samedge.pixels.images import check_image, image_from_tensor, load_image
from samedge.pixels.picture_files import opened_picture, orientation


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def rgb(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)


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


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_is_applied(rgb: np.ndarray, orientation: int, upright: Any) -> None:
    exif: Any = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(encoded(Image.fromarray(rgb), exif=exif))
    assert np.array_equal(loaded, upright(rgb))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(tags: dict[int, list[int]], data: bytes, *, order: str = "<") -> bytes:
    """A TIFF of one directory of long numbers; strips' places are counted from the data's start."""
    long = {tag: values for tag, values in tags.items() if len(values) > 1}
    start = 8 + 2 + 12 * len(tags) + 4
    places = {tag: start + 4 * sum(len(long[t]) for t in sorted(long) if t < tag) for tag in long}
    start += 4 * sum(map(len, long.values()))
    tags = {**tags, 273: [start + place for place in tags[273]]}
    entries, tail = b"", b""
    for tag, values in sorted(tags.items()):
        stored = struct.pack(f"{order}{len(values)}I", *values)
        tail += stored if tag in long else b""
        value = struct.pack(order + "I", places[tag]) if tag in long else stored
        entries += struct.pack(order + "HHI", tag, 4, len(values)) + value
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + entries + bytes(4) + tail + data


_EXIF = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x112, 3, 1, 6, 0, 0)
_TURNING = {
    "exif": chunk(b"eXIf", _EXIF[6:]),
    "text": chunk(
        b"zTXt",
        b"Raw profile type exif\0\0"
        + zlib.compress(b"\nexif\n      38\n" + _EXIF.hex().encode() + b"\n"),
    ),
    "xmp": chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="6"/>'),
    "broken": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  12\nno numbers\n"),
    "nothing": b"",
}


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("what", _TURNING)
def test_a_png_is_not_decoded_for_its_orientation(rgb: np.ndarray, what: str, place: str) -> None:
    """Pillow decodes it for EXIF behind its pixels, and tiles are of files too large for that."""
    data = encoded(Image.fromarray(rgb))
    at = 8 + 25 if place == "before" else len(data) - 12
    data = data[:at] + _TURNING[what] + data[at:]
    turns = what not in ("broken", "nothing")
    with opened_picture(data) as (picture, _):
        assert orientation(picture) == (6 if turns else 1)
        assert getattr(picture, "tile", None), "it was decoded"
    assert load_image(data).shape[:2] == (rgb.shape[1::-1] if turns else rgb.shape[:2])


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"cHRM", bytes(5)),
        chunk(b"pHYs", bytes(3)),
        chunk(b"zTXt", b"k\0\7of no known method"),
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(80 << 20))),
    ],
    ids=["colours", "resolution", "method", "long text"],
)
@pytest.mark.parametrize("place", ["before", "behind"])
def test_what_a_png_says_beside_its_pixels_ends_nothing(
    rgb: np.ndarray, odd: bytes, place: str
) -> None:
    """Pillow refuses the picture for a text of more than a megabyte, as ComfyUI writes them."""
    data = encoded(Image.fromarray(rgb))
    at = 8 + 25 if place == "before" else len(data) - 12
    assert np.array_equal(load_image(data[:at] + odd + data[at:]), rgb)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("sample_range", ["auto", (1000, 30000)])
def test_planes_of_sixteen_bits(rgb: np.ndarray, order: str, sample_range: Any) -> None:
    """Pillow takes them for planes of eight bits, and shows half of each, twice as wide."""
    deep = rgb.astype(np.uint16) * 256 + 77
    planes = deep.transpose(2, 0, 1).astype(order + "u2")
    height, width = rgb.shape[:2]
    size = planes[0].nbytes
    tags = {256: [width], 257: [height], 258: [16] * 3, 259: [1], 262: [2], 277: [3], 278: [height]}
    tags |= {273: [0, size, 2 * size], 279: [size] * 3, 284: [2]}
    loaded = load_image(tiff(tags, planes.tobytes(), order=order), range=sample_range)
    shares = (np.clip(deep, 1000, 30000) - 1000.0) / 29000
    expected = rgb if sample_range == "auto" else np.rint(shares * 255).astype(np.uint8)
    assert np.array_equal(loaded, expected)


@pytest.mark.parametrize("scale", [257, 1], ids=["16 bits", "8 bits"])
def test_palettes_of_tiffs(scale: int) -> None:
    """The format has 16 bits; some programs write 8, which Pillow shows as black."""
    colours = np.arange(768).reshape(256, 3)[::-1] % 256
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tags = {256: [16], 257: [16], 258: [8], 259: [1], 262: [3], 273: [0], 277: [1], 278: [16]}
    tags |= {279: [256], 320: (colours.T.ravel() * scale).tolist()}
    assert np.array_equal(load_image(tiff(tags, indices.tobytes())), colours[indices])


def test_white_of_deep_jpeg_2000_is_said_to_be_black(caplog: pytest.LogCaptureFixture) -> None:
    cv2 = pytest.importorskip("cv2")
    white = np.full((64, 64, 3), 65535, np.uint16)
    for samples, is_said in (
        (white, True),
        (white // 2, False),
        ((white >> 8).astype("u1"), False),
    ):
        caplog.clear()
        load_image(cv2.imencode(".jp2", samples)[1].tobytes())
        assert ("brightest samples black" in caplog.text) == is_said


@pytest.mark.parametrize(
    ("format_", "exif"),
    [
        ("PNG", b"II*\0\xff\xff\xff\xff"),
        ("JPEG", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xee" * 60),  # met while it is opened
    ],
)
def test_damaged_exif_is_upright_where_warnings_are_errors(
    rgb: np.ndarray, format_: str, exif: bytes
) -> None:
    data = encoded(Image.fromarray(rgb), format_, exif=exif)
    loaded = load_image(data)
    plain = Image.open(io.BytesIO(encoded(Image.fromarray(rgb), format_)))
    assert np.array_equal(loaded, np.asarray(plain))


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


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.png.*No such file"):
        load_image(tmp_path / "absent.png")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(ImageError, match=f"image of {len(data)} bytes"):
        load_image(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_truncated_file(kind: str, rng: np.random.Generator) -> None:
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    for share in (0.5, 0.9):
        with pytest.raises(ImageError, match=r"truncated or damaged|not an image"):
            load_image(whole[: int(len(whole) * share)])


def test_a_file_of_too_many_bytes_is_not_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = encoded(Image.new("L", (64, 64)))
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setenv("SAMEDGE_LIMITS", f"image_bytes={len(data) - 1}")
    monkeypatch.setattr("PIL.Image.open", lambda *_: pytest.fail("opened"))
    for source in (data, io.BytesIO(data), tmp_path / "a.png"):
        with pytest.raises(ImageError, match=rf"limit {len(data) - 1}.*image_bytes={len(data)}"):
            load_image(source)


def test_giant_file_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("L", (64, 64)))
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=4095")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(
        ImageError, match=r"64x64 px, has 4096 pixels, limit 4095.*image_pixels=4096"
    ):
        load_image(data)


def test_decompression_bomb_is_an_image_error() -> None:
    header = bytearray(encoded(Image.new("1", (8, 8)), "BMP"))
    header[18:26] = (60000).to_bytes(4, "little") * 2
    with pytest.raises(
        ImageError, match=r"too large, 3600000000 pixels, limit \d+: .*SAMEDGE_LIMITS=image_pixels"
    ):
        load_image(bytes(header))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ([[0]], "is a list"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((3, 4, 4), np.uint8), r"shape \(3, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "dtype float32"),
        (np.full((4, 4, 3), np.nan), "dtype float64"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
)
def test_wrong_arrays(image: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        check_image(image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((3, 4, 5), np.uint8), r"channels come first.*transpose\(1, 2, 0\)"),
        (np.zeros((4, 5, 4), np.uint8), r"drop its alpha"),
        (np.zeros((4, 5), np.uint8), r"np\.dstack"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"a batch"),
        (np.full((4, 5, 3), 0.5), r"reach 1 at most.*image \* 255"),
        (np.full((4, 5, 3), 200.5, np.float32), r"reach 255 at most"),
        (np.full((4, 5, 3), 3000.0), r"beyond 255"),
        (np.zeros((4, 5, 3), np.bool_), r"\* 255"),
        (np.full((4, 5, 3), 256, np.uint16), r"right by 8"),
        (np.full((4, 5, 3), 255), r"values fit.*astype\(np\.uint8\)"),
        (np.full((4, 5, 3), -0.5), r"below 0.*mean is subtracted"),
        (np.full((4, 5, 3), None), r"no samples"),
        (None, r"image_from_bgr"),
    ],
)
def test_frames_of_other_kinds_are_named(image: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        check_image(image)


def test_opencv_frames(rgb: np.ndarray) -> None:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    assert np.array_equal(samedge.image_from_bgr(bgr), rgb)
    assert np.array_equal(samedge.image_from_bgr(np.dstack([bgr, bgr[..., 0]])), rgb)
    assert np.array_equal(samedge.image_from_bgr(rgb[..., 0]), np.dstack([rgb[..., 0]] * 3))
    assert samedge.image_from_bgr(bgr).flags["C_CONTIGUOUS"]
    wrongs: tuple[Any, ...] = (None, np.zeros((4, 5, 2), np.uint8), np.zeros((4, 5, 3)))
    for wrong in wrongs:
        with pytest.raises(ImageError):
            samedge.image_from_bgr(wrong)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "is empty"),
        (b"\0\0\0\x18ftypheic", "HEIC photo.*pi-heif|truncated or damaged"),
        (b"\0\0\0\x18ftypisom", "video.*ffmpeg"),
        (b"\0\0\0\x18ftypcrx ", "raw file"),
        (b"\x1aE\xdf\xa3" + b"\0" * 40, "video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"\0" * 128 + b"DICM" + b"\0" * 40, "DICOM.*pydicom"),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><html>", "web page"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
        (b'{"images": []}', "JSON"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n', "a form.*--data-binary"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\3\4", "zip"),
        (b"\x93NUMPY\1\0", "np.load"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"II*\0" + b"\0" * 40, "TIFF of a kind that Pillow does not read"),
        (b"some text", "not an image in a format that Pillow reads"),
    ],
)
def test_what_is_no_image_is_named(head: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(head)
    with pytest.raises(ImageError, match=rf"x\.png is .*{words}|{words}"):
        load_image(path)


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


def test_a_tiff_of_another_kind_is_called_a_tiff() -> None:
    cv2 = pytest.importorskip("cv2")
    data = cv2.imencode(".tiff", np.zeros((4, 4, 3), np.float32))[1].tobytes()
    with pytest.raises(ImageError, match=r"a TIFF of a kind.*floating-point colours"):
        load_image(data)


def test_postscript_never_runs_a_program() -> None:
    data = encoded(Image.new("RGB", (4, 4)), "EPS")
    with pytest.raises(ImageError, match="EPS, which is not decoded"):
        load_image(data)


def test_pipes_and_devices_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is a pipe"):
        load_image(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is a device"):
        load_image("/dev/zero")


def test_a_raised_limit_also_raises_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("1", (64, 64)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=4096")
    assert load_image(data).shape == (64, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_pillows_limit_stays_lifted_until_the_last_who_needs_it_is_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encoded(Image.new("1", (64, 64)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=4096")
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(opened_picture(data))
        second.enter_context(opened_picture(data))
        first.close()
        assert load_image(data).shape == (64, 64, 3)
        second.close()
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_lack_of_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(picture: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", failing)
    with pytest.raises(ImageError, match="needs more memory than there is"):
        load_image(encoded(Image.new("L", (4, 4))))


def test_a_pillow_image_that_was_cut_off(rng: np.random.Generator) -> None:
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise))
    picture = Image.open(io.BytesIO(data[: len(data) // 2]))
    with picture, pytest.raises(ImageError, match="The Pillow image is truncated"):
        load_image(picture)


class TensorLike:
    """What NumPy cannot take before it is detached and on the host, as a tensor of torch."""

    def __init__(self, array: np.ndarray, *, steps: int = 2) -> None:
        self.array, self.steps, self.dtype = array, steps, array.dtype

    def detach(self) -> TensorLike:
        return TensorLike(self.array, steps=self.steps - 1)

    cpu = detach

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        if self.steps:
            raise RuntimeError("call detach() and cpu() first")
        return self.array


@pytest.fixture
def small(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_tensors_of_any_layout_become_the_image(small: np.ndarray) -> None:
    floats = (small / 255).astype(np.float32)
    given = [
        small,
        small.transpose(2, 0, 1),
        small.transpose(2, 0, 1)[None],
        floats.transpose(2, 0, 1),
        floats,
        (floats + 1e-6).astype(np.float64)[None].transpose(0, 3, 1, 2),
        TensorLike(floats.transpose(2, 0, 1)),
    ]
    for tensor in given:
        image = image_from_tensor(tensor)
        assert image.flags.c_contiguous
        assert np.array_equal(image, small)


def test_torch_tensors_become_the_image(small: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(small.transpose(2, 0, 1).copy()).float() / 255
    assert np.array_equal(image_from_tensor(tensor.requires_grad_()), small)
    half = image_from_tensor(tensor.bfloat16())
    assert np.abs(half.astype(int) - small).max() <= 1


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (np.full((3, 4, 5), 200.0, np.float32), "scale it by 1 / 255"),
        (np.full((3, 4, 5), -2.0, np.float32), "mean is subtracted"),
        (np.full((3, 4, 5), np.nan, np.float32), "expected 0 to 1"),
        (np.zeros((2, 3, 4, 5), np.uint8), "batch"),
        (np.zeros((4, 5), np.uint8), "expected .H, W, 3. RGB"),
        (np.zeros((3, 4, 5), np.int64), "expected uint8"),
        ("photo.jpg", "expected"),
    ],
)
def test_what_is_no_image_tensor_is_refused(tensor: object, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        image_from_tensor(tensor)


def test_what_speaks_dlpack_alone_is_taken() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)

    class Tensor:
        def __dlpack__(self, **given: Any) -> Any:
            return pixels.__dlpack__(**given)

        def __dlpack_device__(self) -> tuple[Any, ...]:
            return pixels.__dlpack_device__()

    assert np.array_equal(image_from_tensor(Tensor()), pixels)


def test_which_files_of_a_folder_are_pictures(tmp_path: Path) -> None:
    for name in ("b10.JPG", "b9.jfif", "a.avif", "._a.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "c.png").touch()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.avif", "b9.jfif", "b10.JPG"]
    assert [path.name for path in image_files(tmp_path)] == ["a.avif", "b10.JPG", "b9.jfif"]
