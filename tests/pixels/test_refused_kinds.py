"""TIFFs and BMPs that Pillow refuses, or of which it reads a part, and that are read here."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from samedge.errors import ImageError
from samedge.pixels.images import load_image
from tests.pixels.test_image_metadata import tiff

SIZE = 33, 47
_KINDS = {"u": 1, "i": 2, "f": 3}


@pytest.fixture
def deep(rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint16 whose high byte says next to nothing."""
    return rng.integers(30000, 30256, (*SIZE, 3)).astype(np.uint16)


def packed(samples: np.ndarray, *, compressed: bool) -> bytes:
    return zlib.compress(samples.tobytes()) if compressed else samples.tobytes()


def grey_tiff(samples: np.ndarray, *, photometric: int, compressed: bool) -> bytes:
    order = "<" if samples.dtype.newbyteorder("=") == samples.dtype else ">"
    data = packed(samples, compressed=compressed)
    height, width = samples.shape
    tags = {256: [width], 257: [height], 258: [8 * samples.itemsize], 259: [8 if compressed else 1]}
    tags |= {262: [photometric], 273: [0], 277: [1], 278: [height], 279: [len(data)]}
    tags |= {339: [_KINDS[samples.dtype.kind]]}
    return tiff(tags, data, order=order)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("rows", [SIZE[0], 10], ids=["a strip", "strips"])
def test_compressed_planes_keep_their_low_bytes(
    deep: np.ndarray, order: str, channels: int, rows: int
) -> None:
    stored = np.concatenate([deep, deep[..., :1]], axis=-1)[..., :channels]
    planes = stored.transpose(2, 0, 1).astype(order + "u2")
    parts = [plane[top : top + rows] for plane in planes for top in range(0, SIZE[0], rows)]
    strips = [packed(part, compressed=True) for part in parts]
    lengths = [len(strip) for strip in strips]
    places = [sum(lengths[:at]) for at in range(len(lengths))]
    tags = {256: [SIZE[1]], 257: [SIZE[0]], 258: [16] * channels, 259: [8], 262: [2]}
    tags |= {273: places, 277: [channels], 278: [rows], 279: lengths, 284: [2]}
    tags |= {338: [2]} if channels == 4 else {}
    loaded = load_image(tiff(tags, b"".join(strips), order=order), range=(30000, 30255))
    assert np.array_equal(loaded, deep - 30000)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("photometric", [0, 1], ids=["white", "black"])
@pytest.mark.parametrize("kind", ["u2", "i2", "i4", "u4", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_grey_of_every_kind(
    order: str, kind: str, photometric: int, *, compressed: bool
) -> None:
    """Pillow has no name for some, and of big-endian ones that are compressed turns the bytes."""
    low = 0 if kind[0] == "u" else -1000
    samples = np.linspace(low, 1000, 256).reshape(16, 16)
    data = grey_tiff(samples.astype(order + kind), photometric=photometric, compressed=compressed)
    loaded = load_image(data, range=(low, 1000))[..., 0].astype(int)
    expected = np.arange(256).reshape(16, 16)
    expected = 255 - expected if photometric == 0 else expected
    assert np.abs(loaded - expected).max() <= 1


def test_a_big_endian_bigtiff_is_called_by_its_name() -> None:
    with pytest.raises(ImageError, match="a BigTIFF of a kind that Pillow does not read"):
        load_image(b"MM\0+\0\x08\0\0" + (16).to_bytes(8, "big") + bytes(40))


def bmp(pixels: np.ndarray, masks: tuple[int, ...], *, header: int, turned: bool) -> bytes:
    """A BMP of bit fields: the masks follow a header of 40 bytes, and stand in longer ones."""
    height, width = pixels.shape
    rows = [row.tobytes() + bytes(-row.nbytes % 4) for row in (pixels if turned else pixels[::-1])]
    body = b"".join(rows)
    kind = 6 if header == 40 else 3
    height = -height if turned else height
    head = struct.pack("<IiiHHI", header, width, height, 1, 8 * pixels.itemsize, kind)
    head += struct.pack("<I4I", len(body), 0, 0, 0, 0) + struct.pack("<4I", *masks)
    head = head.ljust(header, b"\0")
    start = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + body


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize(
    "shifts", [(16, 8, 0, 24), (0, 8, 16, 24), (24, 16, 8, 0), (8, 16, 24, 0), (0, 16, 8, 24)]
)
def test_bmps_whose_masks_stand_anywhere(
    rng: np.random.Generator, shifts: tuple[int, ...], header: int, *, turned: bool
) -> None:
    colours = rng.integers(0, 256, (*SIZE, 4)).astype(np.uint32)
    pixels = sum(colours[..., band] << shift for band, shift in enumerate(shifts))
    masks = tuple(0xFF << shift for shift in shifts)
    data = bmp(np.asarray(pixels, "<u4"), masks, header=header, turned=turned)
    assert np.array_equal(load_image(data), colours[..., :3])
    with pytest.raises(ImageError):
        load_image(data[:-200])


def test_bmps_of_sixteen_bits_with_alpha(rng: np.random.Generator) -> None:
    colours = rng.integers(0, 16, (*SIZE, 4)).astype(np.uint16)
    pixels = sum(colours[..., band] << shift for band, shift in enumerate((8, 4, 0, 12)))
    masks = (0xF00, 0xF0, 0xF, 0xF000)
    data = bmp(np.asarray(pixels, "<u2"), masks, header=56, turned=False)
    assert np.array_equal(load_image(data), colours[..., :3] * 17)
