"""Orientation, deep samples, ancillary data: what a picture file says beside its pixels."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.pixels.images import load_image
from samedge.pixels.picture_files import opened_picture, orientation
from tests.toys.pictures import encoded


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
