"""TIFFs and BMPs that Pillow refuses, or of which it reads a part, and that are read here."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

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
    with pytest.raises(ImageError, match=r"a BigTIFF .* \(big-endian\): save it with the lowest"):
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


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("photometric", [0, 1], ids=["white", "black"])
@pytest.mark.parametrize("kind", ["u8", "i8", "f8", "f2"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_as_numpy_has_it(order: str, kind: str, photometric: int, *, compressed: bool) -> None:
    samples = np.arange(256).reshape(8, 32).astype(order + kind)
    loaded = load_image(grey_tiff(samples, photometric=photometric, compressed=compressed))
    expected = np.arange(256).reshape(8, 32)
    assert np.array_equal(loaded[..., 0], expected if photometric else 255 - expected)


def test_grey_of_doubles_is_turned_upright() -> None:
    samples = np.arange(256).reshape(8, 32).astype("<f8")
    tags = {256: [32], 257: [8], 258: [64], 259: [1], 262: [1], 273: [0], 274: [6], 277: [1]}
    tags |= {278: [8], 279: [samples.nbytes], 339: [3]}
    loaded = load_image(tiff(tags, samples.tobytes()))
    assert np.array_equal(loaded[..., 0], np.rot90(samples, -1))


def colours_tiff(
    samples: np.ndarray, *, compressed: bool, more: Mapping[int, list[int]] | None = None
) -> bytes:
    """A TIFF of channels that are not said to be red, green and blue."""
    order = "<" if samples.dtype.newbyteorder("=") == samples.dtype else ">"
    data = packed(samples, compressed=compressed)
    height, width, channels = samples.shape
    tags = {256: [width], 257: [height], 258: [8 * samples.itemsize] * channels, 262: [1]}
    tags |= {259: [8 if compressed else 1], 273: [0], 277: [channels], 278: [height]}
    tags |= {279: [len(data)], 338: [0] * (channels - 1), **(more or {})}
    return tiff({tag: values for tag, values in tags.items() if values}, data, order=order)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["<u2", ">u2", "u1"])
def test_three_channels_without_a_word_are_colours(
    deep: np.ndarray, kind: str, *, compressed: bool
) -> None:
    stored = (deep - 30000).astype(kind)
    data = colours_tiff(stored, compressed=compressed)
    assert np.array_equal(load_image(data, range=(0, 255)), deep - 30000)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["<u2", ">u2", "u1"])
@pytest.mark.parametrize("channels", [3, 5])
def test_channels_apart_are_not_the_first_one_alone(
    deep: np.ndarray, kind: str, channels: int, *, compressed: bool
) -> None:
    """Which is what Pillow takes compressed ones for."""
    deep = deep - 30000
    planes = [deep[..., channel % 3].astype(kind) for channel in range(channels)]
    strips = [packed(plane, compressed=compressed) for plane in planes]
    lengths = [len(strip) for strip in strips]
    tags = {256: [SIZE[1]], 257: [SIZE[0]], 258: [8 * planes[0].itemsize] * channels}
    tags |= {259: [8 if compressed else 1], 262: [1], 277: [channels], 278: [SIZE[0]], 284: [2]}
    tags |= {273: [sum(lengths[:at]) for at in range(channels)], 279: lengths}
    data = tiff(tags, b"".join(strips), order=kind[0] if kind[0] in "<>" else "<")
    if channels == 3:
        assert np.array_equal(load_image(data, range=(0, 255)), deep)
    else:
        with pytest.raises(ImageError, match=r"5 channels of .* take three of its channels"):
            load_image(data)


@pytest.mark.parametrize(
    ("channels", "more", "words"),
    [
        (5, {}, r"\(5 channels of 16 bits\): take three of its channels"),
        (3, {339: [3] * 3}, r"\(3 channels of 16 bits, floating-point\): save it with 1 or 3"),
        (3, {259: [50001]}, "is a TIFF compressed as WebP, .*: save it with LZW"),
        (3, {259: [34887]}, "is a TIFF compressed as LERC"),
        (1, {262: [32803]}, "is a camera's raw file: develop it"),
        (3, {50706: [1]}, "is a camera's raw file: develop it"),
    ],
)
def test_a_tiff_that_is_refused_is_told_as_what_it_is(
    rng: np.random.Generator, channels: int, more: dict[int, list[int]], words: str
) -> None:
    samples = rng.integers(0, 99, (*SIZE, channels)).astype("<u2")
    with pytest.raises(ImageError, match=words):
        load_image(colours_tiff(samples, compressed=True, more={262: [2], **more}))


def test_colours_that_libtiff_cannot_unpack(rng: np.random.Generator) -> None:
    """Pillow opens these, and decoding fails as that of a damaged file does."""
    samples = rng.integers(0, 99, (*SIZE, 3)).astype(np.uint8)
    data = colours_tiff(samples, compressed=True, more={259: [50001], 262: [2], 338: []})
    with pytest.raises(ImageError, match="compressed as WebP"):
        load_image(data)


def test_raw_files_are_not_their_previews(rng: np.random.Generator) -> None:
    """Of DNG, NEF and ARW Pillow reads the small picture that comes first, of CR2 a preview."""
    samples = rng.integers(0, 99, (12, 16, 3)).astype(np.uint8)
    plain = {262: [2], 338: []}
    with pytest.raises(ImageError, match="begins with a reduced picture of 16x12 px, as cameras'"):
        load_image(colours_tiff(samples, compressed=False, more={**plain, 254: [1], 330: [8]}))
    alone = colours_tiff(samples, compressed=False, more={**plain, 254: [1]})
    assert np.array_equal(load_image(alone), samples)
    with pytest.raises(ImageError, match="is a camera's raw file: develop it"):
        load_image(b"II*\0\x10\0\0\0CR\2\0" + alone[12:])


@pytest.mark.parametrize("place", [0, 1 << 40, (1 << 64) - 1])
@pytest.mark.parametrize("kind", [2, 3, 16])
def test_a_bigtiff_whose_directory_leads_nowhere(place: int, kind: int) -> None:
    """What says what is refused meets the damage that Pillow met before it."""
    entry = struct.pack("<HHQQ", 258, kind, place, place)
    head = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1) + entry + bytes(8)
    for data in (head, b"II+\0\x08\0\0\0" + struct.pack("<Q", place)):
        with pytest.raises(ImageError):
            load_image(data)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_tiff_without_strips_for_all_of_its_rows(channels: int, rng: np.random.Generator) -> None:
    """Pillow leaves those rows black."""
    samples = rng.integers(0, 99, (*SIZE, channels)).astype(np.uint8)
    more = {262: [1 if channels == 1 else 2], 338: []}
    whole = colours_tiff(samples, compressed=False, more=more)
    assert np.array_equal(load_image(whole)[..., 0], samples[..., 0])
    longer = colours_tiff(samples, compressed=False, more={**more, 257: [SIZE[0] + 30]})
    with pytest.raises(ImageError, match="there is nothing for its last 30 rows"):
        load_image(longer)
