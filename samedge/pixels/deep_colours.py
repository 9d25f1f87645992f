"""All sixteen bits of colour pictures, of which Pillow's modes hold eight.

Pillow reads one byte of each 16-bit sample, and which of the two is part of a tile's description:
so a file is decoded twice. The same holds for grey with alpha. Of a TIFF whose channels lie one
after the other, uncompressed, Pillow takes 16 bits for eight: its tiles are described anew.
Compressed, each channel is decoded as a picture of its own. Signed and floating-point samples of a
compressed big-endian TIFF come from libtiff in the machine's order, and Pillow turns them again.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
from PIL import Image, ImagePalette

from samedge.pixels import tiff_directories

_NATIVE_LOW = "16B" if sys.byteorder == "little" else "16L"
_OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": _NATIVE_LOW}
_TURNED_TWICE = {"I;16BS": "I;16S", "I;32BS": "I;32S", "F;32BF": "F;32F"}
_COLOURS = ("RGB", "RGBA", "RGBX", "R", "G", "B", "A", "X")
_BITS, _COLOUR_MAP, _PLANAR, _SEPARATE = 258, 320, 284, 2  # TIFF tags, and a value
_GREY_ALPHA = "LA;16B"
_ROUNDED = ("LA", "RGB", "RGBA", "YCbCr", "CMYK")
_CODESTREAM, _DEPTHS, _HEAD_BYTES = b"\xff\x4f\xff\x51", 42, 1 << 16  # of JPEG 2000


def as_described(picture: Any) -> Image.Image:
    """The picture, of a TIFF three things set right that Pillow takes for others, before decoding.

    Tiles of one channel of 16 bits each; the order of bytes that libtiff has put right; and a
    palette of 8 bits where the format has 16, as some programs write it: libtiff takes one without
    a value above 255 for such, Pillow for black.
    """
    tags: Any = getattr(picture, "tag_v2", {})
    if picture.format == "TIFF" and tags.get(_PLANAR) == _SEPARATE and 16 in tags.get(_BITS, ()):
        depth = "16L" if tags.prefix == b"II" else "16B"
        picture.tile = [_deep_plane(tile, depth) for tile in picture.tile]
    if picture.format == "TIFF" and sys.byteorder == "little":
        picture.tile = [_turned_once(tile) for tile in picture.tile]
    colours = tags.get(_COLOUR_MAP, ()) if picture.format == "TIFF" else ()
    is_of_bytes = all(isinstance(value, int) and 0 <= value < 256 for value in colours)
    if picture.mode == "P" and colours and is_of_bytes:
        picture.palette = ImagePalette.raw("RGB;L", bytes(colours))
    opened: Image.Image = picture
    return opened


def _deep_plane(tile: Any, depth: str) -> Any:
    is_plane = tile.codec_name == "raw" and tile.args[0] in _COLOURS and len(tile.args[0]) == 1
    return tile._replace(args=(f"{tile.args[0]};{depth}", *tile.args[1:])) if is_plane else tile


def _turned_once(tile: Any) -> Any:
    mode = _TURNED_TWICE.get(tile.args[0]) if tile.codec_name == "libtiff" else None
    return tile if mode is None else tile._replace(args=(mode, *tile.args[1:]))


def white_may_be_black(picture: Any) -> bool:
    """Whether it is JPEG 2000 with deep colours, of which Pillow rounds the brightest up to 0."""
    if picture.format != "JPEG2000" or picture.mode not in _ROUNDED or picture.fp is None:
        return False
    place = picture.fp.tell()
    picture.fp.seek(0)
    head = picture.fp.read(_HEAD_BYTES)
    picture.fp.seek(place)
    at = head.find(_CODESTREAM)
    depths = head[at + _DEPTHS :: 3][: int.from_bytes(head[at + _DEPTHS - 2 : at + _DEPTHS], "big")]
    return at >= 0 and any((depth & 0x7F) > 7 for depth in depths)


def low_bytes(picture: Image.Image) -> Image.Image | None:
    """The low bytes of 16-bit colours as a picture; ``None`` for every other picture.

    A file is decoded twice: Pillow's modes for colour hold one byte a sample, and which one it
    takes is part of the tile's description.
    """
    tiles, file = getattr(picture, "tile", None), getattr(picture, "fp", None)
    if not tiles or file is None:
        return None
    other = [_other_byte(tile.args) for tile in tiles]
    if None in other:
        return None
    file.seek(0)
    data = file.read()
    if tiles[0].codec_name == "libtiff" and _is_planar(picture):
        planes = [plane.astype(np.uint8) for plane in tiff_directories.deep_planes(data)]
        bands = [Image.fromarray(plane) for plane in planes[: len(picture.getbands())]]
        return Image.merge(picture.mode, bands)
    file = io.BytesIO(data)
    is_unnamed = isinstance(picture, tiff_directories.ColourTiff)  # of which Pillow knows nothing
    again: Any = as_described(tiff_directories.ColourTiff(file) if is_unnamed else Image.open(file))
    again.tile = [tile._replace(args=args) for tile, args in zip(again.tile, other, strict=True)]
    again.load()
    # Read as four channels, LA's are high and low byte of grey, then of alpha.
    low: Image.Image = again.getchannel(1) if tiles[0].args == _GREY_ALPHA else again
    return low


def _is_planar(picture: Any) -> bool:
    return bool(picture.tag_v2.get(_PLANAR) == _SEPARATE)


def _other_byte(arguments: object) -> Any:
    """A tile's arguments with the raw mode that reads the other byte; ``None``: not 16 bits."""
    parts = (arguments,) if isinstance(arguments, str) else arguments
    if not isinstance(parts, tuple) or not parts or not isinstance(parts[0], str):
        return None
    if parts[0] == _GREY_ALPHA:
        return "RGBA"
    colours, _, depth = parts[0].partition(";")
    if colours not in _COLOURS or depth not in _OTHER_BYTE:
        return None
    other = f"{colours};{_OTHER_BYTE[depth]}"
    return other if isinstance(arguments, str) else (other, *parts[1:])
