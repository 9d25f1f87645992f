"""Pictures part by part: the pixels of load_image, of files that are never held."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import BackendUnavailableError, ImageError
from samedge.pixels.images import load_image
from samedge.pixels.picture_parts import opened_in_parts
from samedge.pixels.sample_range import SampleRange
from samedge.pixels.tiles import Tiling
from samedge.types import Array
from tests.pixels.test_image_metadata import tiff as described
from tests.toys.pictures import tiff

HEIGHT, WIDTH = 150, 203
_LARGE = "image_pixels=30000"  # so that HEIGHT x WIDTH is streamed; a row of tiles of 64 fits


@pytest.fixture(scope="module")
def colours() -> Array:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (HEIGHT // 10, WIDTH // 7 + 1, 3), np.uint8)
    return np.kron(blocks, np.ones((10, 7, 1), np.uint8))[:HEIGHT, :WIDTH]


def deep(colours: Array) -> Array:
    return (colours[:, :, 0].astype(np.uint16) * 13) + 200


def put_together(path: Path, sample_range: SampleRange = "auto") -> Array:
    with opened_in_parts(path, sample_range=sample_range) as picture:
        found = np.zeros((*picture.size, 3), np.uint8)
        for x0, y0, x1, y1 in picture.in_order(Tiling(64, 10).boxes(picture.size)):
            found[y0:y1, x0:x1] = picture.read((x0, y0, x1, y1))
    return found


def save_vips(path: Path, samples: Array, **how: Any) -> None:
    vips = pytest.importorskip("pyvips")
    image = vips.Image.new_from_array(np.ascontiguousarray(samples))
    getattr(image, "pngsave" if path.suffix == ".png" else "tiffsave")(str(path), **how)


def _saved(kind: str, folder: Path, colours: Array) -> Path:
    """A file of some kind."""
    name, _, way = kind.partition(":")
    path = folder / name
    rgb = Image.fromarray(colours)
    grey, second = rgb.getchannel(0), rgb.getchannel(1)
    pictures = {
        "palette": lambda: rgb.quantize(16),
        "black": lambda: grey.convert("1"),
        "grey": lambda: grey,
        "alpha": lambda: Image.merge("RGBA", (*rgb.split(), second)),
        "grey-alpha": lambda: Image.merge("LA", (grey, second)),
        "deep": lambda: Image.fromarray(deep(colours)),
        "int": lambda: Image.fromarray(deep(colours).astype(np.int32)),
        "float": lambda: Image.fromarray((deep(colours) / 9000).astype(np.float32)),
        "cmyk": lambda: rgb.convert("CMYK"),
    }
    how: dict[str, Any] = {}
    if path.suffix == ".tif" and way not in ("int", "float", "deep"):
        how["compression"] = "group4" if way == "black" else "tiff_lzw"
    if way.isdecimal():
        how["exif"] = Image.Exif()
        how["exif"][0x112] = int(way)
    pictures.get(way, lambda: rgb)().save(path, **how)
    return path


KINDS = (
    *("a.tif", "a.jpg", "a.png", "a.tif:palette", "a.png:palette", "a.tif:black", "a.png:black"),
    *("a.tif:grey", "a.jpg:grey", "a.png:grey", "a.tif:alpha", "a.png:alpha", "a.png:grey-alpha"),
    *("a.tif:deep", "a.png:deep", "a.tif:int", "a.tif:float", "a.jpg:cmyk", "a.tif:cmyk"),
    *(f"a.jpg:{turn}" for turn in range(2, 9)),
    *("a.tif:3", "a.tif:6", "a.png:8"),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample_range", ["auto", (20.0, 180.0)])
def test_parts_are_the_picture(
    kind: str,
    sample_range: SampleRange,
    tmp_path: Path,
    colours: Array,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pyvips")
    path = _saved(kind, tmp_path, colours)
    whole = load_image(path, range=sample_range)
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    assert np.array_equal(put_together(path, sample_range), whole)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiled_tiff_is_read_where_it_is_asked_for(
    bits: int, tmp_path: Path, colours: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = colours if bits == 8 else deep(colours)
    path = tmp_path / "tiled.tif"
    save_vips(path, samples, tile=True, tile_width=32, tile_height=32, compression="deflate")
    whole = load_image(path)
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    assert np.array_equal(put_together(path), whole)
    with opened_in_parts(path) as picture:
        assert np.array_equal(picture.read((100, 90, 180, 140)), whole[90:140, 100:180])
        assert np.array_equal(picture.read((0, 0, 50, 50)), whole[:50, :50])


@pytest.mark.parametrize(
    ("kind", "photometric"), [("u1", 0), ("u2", 0), ("u2", 1), ("f4", 0), ("i1", 1)]
)
def test_types_of_tiff(
    kind: str, photometric: int, tmp_path: Path, colours: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What libvips turns where white is zero, and what not, comes out as from Pillow."""
    pytest.importorskip("pyvips")
    samples = colours[:, :, 0] if kind == "u1" else deep(colours)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(samples.astype(kind), photometric=photometric))
    whole = load_image(path)
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    assert np.array_equal(put_together(path), whole)


@pytest.mark.parametrize("apart", [False, True])
def test_three_channels_without_a_word_are_colours(
    tmp_path: Path, colours: Array, monkeypatch: pytest.MonkeyPatch, *, apart: bool
) -> None:
    """As GDAL writes those of 16 bits; one after the other libvips makes noise of them."""
    pytest.importorskip("pyvips")
    samples = colours.astype("<u2") * 200
    samples = np.ascontiguousarray(samples.transpose(2, 0, 1)) if apart else samples
    height, width = colours.shape[:2]
    each = samples.nbytes // (3 if apart else 1)
    places, lengths = ([0, each, 2 * each], [each] * 3) if apart else ([0], [each])
    tags = {256: [width], 257: [height], 258: [16] * 3, 259: [1], 262: [1], 273: places}
    tags |= {277: [3], 278: [height], 279: lengths, 284: [2 if apart else 1]}
    path = tmp_path / "a.tif"
    path.write_bytes(described(tags, samples.tobytes()))
    whole = load_image(path)
    assert len(np.unique(np.ptp(whole.astype(int), axis=2))) > 1
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    if apart:
        with pytest.raises(ImageError, match=r"not read by tiles .*INTERLEAVE=PIXEL"):
            put_together(path)
    else:
        assert np.array_equal(put_together(path), whole)


def test_full_range_of_deep_samples(
    tmp_path: Path, colours: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyvips")
    for kind in ("a.tif:deep", "a.tif:int"):
        path = _saved(kind, tmp_path, colours)
        whole = load_image(path, range="full")
        monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
        assert np.array_equal(put_together(path, "full"), whole)
        monkeypatch.delenv("SAMEDGE_LIMITS")
    path = _saved("a.tif:float", tmp_path, colours)
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    with pytest.raises(ImageError, match="no full range"):
        put_together(path, "full")


def test_rows_that_nobody_asks_for_are_passed_over(
    tmp_path: Path, colours: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyvips")
    path = _saved("a.png", tmp_path, colours)
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    with opened_in_parts(path) as picture:
        for box in ((10, 5, 60, 40), (0, 90, 70, 140), (100, 90, 170, 150)):
            x0, y0, x1, y1 = box
            assert np.array_equal(picture.read(box), colours[y0:y1, x0:x1])


def test_within_the_limit_nothing_else_is_needed(
    tmp_path: Path, colours: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyvips", None)
    path = _saved("a.png:6", tmp_path, colours)
    assert np.array_equal(put_together(path), load_image(path))
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    with pytest.raises(BackendUnavailableError, match=r"libvips.*pip install 'samedge\[tiles\]'$"):
        put_together(path)


def test_an_array_is_read_where_it_lies(tmp_path: Path, colours: Array) -> None:
    stored = np.memmap(tmp_path / "raw", np.uint8, "w+", shape=colours.shape)
    stored[:] = colours
    with opened_in_parts(stored) as picture:
        assert np.array_equal(picture.read((3, 4, 20, 30)), colours[4:30, 3:20])


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("a.jpg", {"progressive": True}, "progressive JPEG.*tiled TIFF"),
        ("a.webp", {}, "is WEBP, and of pictures of that size TIFF, JPEG, PNG are read"),
        ("a.bmp", {}, "is BMP"),
    ],
)
def test_what_has_to_be_held_whole_is_refused(
    name: str,
    how: dict[str, Any],
    said: str,
    tmp_path: Path,
    colours: Array,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pyvips")
    Image.fromarray(colours).save(tmp_path / name, **how)
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    with pytest.raises(ImageError, match=said):
        put_together(tmp_path / name)


def test_ycbcr_of_jpeg_is_read(
    tmp_path: Path, colours: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyvips")
    Image.fromarray(colours).save(tmp_path / "a.tif", compression="jpeg")
    whole = load_image(tmp_path / "a.tif").astype(np.int64)
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    assert np.abs(put_together(tmp_path / "a.tif") - whole).mean() < 4


def test_interlaced_and_lab_are_refused(
    tmp_path: Path, colours: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_vips(tmp_path / "a.png", colours, interlace=True)
    Image.fromarray(colours).convert("LAB").save(tmp_path / "lab.tif")
    ycc = Image.fromarray(colours).convert("YCbCr")
    ways = ("raw", "tiff_lzw", "tiff_deflate")
    for way in ways:
        ycc.save(tmp_path / f"{way}.tif", compression=way)
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    with pytest.raises(ImageError, match="is interlaced"):
        put_together(tmp_path / "a.png")
    for name, mode in (("lab.tif", "LAB"), *((f"{way}.tif", "YCbCr") for way in ways)):
        with pytest.raises(ImageError, match=f"colours of the kind {mode}"):
            put_together(tmp_path / name)


@pytest.mark.parametrize("kind", ["a.tif", "a.jpg", "a.png", "tiled.tif", "a.tif:deep"])
def test_damage_is_an_error_of_ours(
    kind: str, tmp_path: Path, colours: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyvips")
    if kind == "tiled.tif":
        save_vips(tmp_path / kind, colours, tile=True, tile_width=32, tile_height=32)
        path = tmp_path / kind
    else:
        path = _saved(kind, tmp_path, colours)
    data = path.read_bytes()
    monkeypatch.setenv("SAMEDGE_LIMITS", _LARGE)
    rng = np.random.default_rng(1)
    for cut in (0, 10, len(data) // 3, len(data) * 2 // 3, len(data) - 100):
        path.write_bytes(data[:cut])
        with pytest.raises(ImageError, match=r"^[^\n]+$"):
            put_together(path)
    for _ in range(30):
        bent = np.frombuffer(data, np.uint8).copy()
        bent[rng.integers(0, len(bent), 20)] = rng.integers(0, 256, 20)
        path.write_bytes(bent.tobytes())
        with contextlib.suppress(ImageError):  # some damage is in pixels alone
            put_together(path)


def test_the_limits_of_tiles_are_named(
    tmp_path: Path, colours: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _saved("a.png", tmp_path, colours)
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=100,tiled_pixels=20000")
    with pytest.raises(ImageError, match=r"has 30450 pixels, limit 20000.*tiled_pixels=30450"):
        put_together(path)
    with pytest.raises(ImageError, match=r"limit 100.*or have it read by tiles.*--tiles 2048"):
        load_image(path)
    pytest.importorskip("pyvips")
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=7000")
    with pytest.raises(
        ImageError, match=r"a row of its tiles has 12992 pixels.*--tiles 34 or less"
    ):
        put_together(path)


@pytest.mark.parametrize("name", ["folder", "pipe", "absent"])
def test_what_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError):
        put_together(tmp_path / name)


_READS = """
    import sys
    from pathlib import Path
    from samedge.pixels.picture_parts import opened_in_parts
    from samedge.pixels.tiles import Tiling

    most = 0

    def read(box):  # pages of the mapped file are the system's to take back
        global most
        picture.read(box)
        status = Path("/proc/self/status").read_text()
        most = max(most, int(status.partition("RssAnon:")[2].split()[0]) // 1000)

    with opened_in_parts(Path(sys.argv[1])) as picture:
        for box in picture.in_order(Tiling(2048).boxes(picture.size)):
            read(box)
        picture.restart()  # as words are asked of crops of any height, few rows apart
        boxes = [(x, y, x + 700, y + 90 + x % 900) for y in range(0, 11000, 97) for x in (0, 9900)]
        for box in picture.in_order(boxes):
            read(box)
    print(most)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's own figures of memory")
@pytest.mark.parametrize("kind", ["strips.tif", "one-strip.tif", "tiled.tif", "a.jpg", "a.png"])
def test_two_hundred_megapixels_are_never_held(kind: str, tmp_path: Path) -> None:
    """600 MB of pixels: a row of tiles has 100 of them, and there is Python and libvips."""
    vips = pytest.importorskip("pyvips")
    height, width = 12_288, 16_384
    block = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    image = vips.Image.new_from_array(block).replicate(width // 512, height // 512)
    path = tmp_path / kind
    if path.suffix == ".jpg":
        image.jpegsave(str(path))
    elif path.suffix == ".png":
        image.pngsave(str(path), compression=1)
    elif kind == "one-strip.tif":
        whole = np.zeros((height, width, 3), np.uint8)
        whole[::7] = 90
        tall = {278: height}  # rows of a strip
        Image.fromarray(whole).save(
            path, compression="tiff_adobe_deflate", tiffinfo=tall, strip_size=1 << 30
        )
    else:
        image.tiffsave(str(path), compression="lzw", tile=kind == "tiled.tif")
    code = textwrap.dedent(_READS)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 400, f"{kind}: {done.stdout} MB"
    print(kind, done.stdout)
