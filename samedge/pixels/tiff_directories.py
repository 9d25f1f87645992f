"""TIFFs that Pillow refuses or reads by halves, described anew in its own words.

The file stays what it is: a directory is put behind it, and its first bytes name that one. What
Pillow has no name for is described as the nearest that it has, and told apart by whoever asked.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from samedge.errors import ImageError
from samedge.files import limits
from samedge.pixels.grey_pictures import grey_picture
from samedge.types import Array

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, struct.error)
"""What a damaged directory, or a tag of it that is none of its kind, raises."""

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _CHANNELS, _PLANAR = 256, 257, 258, 262, 277, 284
_FORMAT, _UNSIGNED, _SIGNED = 339, 1, 2
_OFFSETS, _LENGTHS = (273, 324), (279, 325)  # of strips, of tiles
_TILE_WIDTH, _ORIENTATION, _PREDICTOR = 322, 274, 317
_SIZES = (_WIDTH, _HEIGHT, 278, _TILE_WIDTH, 323)  # the last three of strips and tiles
_LONG = (*_SIZES, *_OFFSETS, *_LENGTHS)
_COMPRESSION, _JPEG = 259, 7
_KIND = (_BITS, _COMPRESSION, _PHOTOMETRIC, _CHANNELS, _PLANAR, _PREDICTOR, _FORMAT)
_SHORT = (*_KIND, 266, _ORIENTATION)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _TOGETHER, _SEPARATE = 0, 1, 2, 1, 2
_EXTRA = 338
_SUBFILE, _REDUCED, _SUBDIRECTORIES = 254, 1, 330
_DEEP = (16, 32)
_CMYK, _SHORT_BYTES = 5, 2
_WIDE = {(1, 64): "u8", (2, 64): "i8", (3, 64): "f8", (3, 16): "f2"}


def is_reduced(picture: Any) -> bool:
    """Whether a TIFF's first picture is by its own word a small copy of another one in the file."""
    if picture.format != "TIFF":
        return False
    tags = getattr(picture, "tag_v2", {})
    kind = tags.get(_SUBFILE, 0)
    is_small = isinstance(kind, int) and bool(kind & _REDUCED)
    return is_small and (_SUBDIRECTORIES in tags or getattr(picture, "n_frames", 1) > 1)


def missing_rows(picture: Any) -> int:
    """How many rows a TIFF, opened and not decoded yet, has no strip or tile for."""
    tiles = getattr(picture, "tile", None)
    height = getattr(picture, "tag_v2", {}).get(_HEIGHT)
    if picture.format != "TIFF" or not tiles or not isinstance(height, int):
        return 0
    return max(0, height - max(int(tile.extents[3]) for tile in tiles))


def hides_colours(picture: Any) -> bool:
    """Whether Pillow takes the first of several channels, one after the other, for all of it."""
    tags = getattr(picture, "tag_v2", {})
    is_apart = (tags.get(_PHOTOMETRIC), tags.get(_PLANAR)) == (_BLACK_IS_ZERO, _SEPARATE)
    channels = tags.get(_CHANNELS, 1)
    return picture.format == "TIFF" and is_apart and isinstance(channels, int) and channels > 2


class ColourTiff(TiffImagePlugin.TiffImageFile):
    """One of three channels that are not said to be red, green and blue, taken for such."""

    def _setup(self) -> None:
        tags = {tag: self.tag_v2[tag] for tag in (*_KIND, _EXTRA) if tag in self.tag_v2}
        held = {tag: v if isinstance(v, tuple) else (v,) for tag, v in tags.items()}
        if not _is_colour(held) or held.get(_PLANAR) == (_SEPARATE,):
            raise SyntaxError("It is a TIFF of another kind.")
        self.tag_v2[_PHOTOMETRIC] = _RGB
        self.tag_v2.pop(_EXTRA, None)
        super()._setup()


def colours(stream: BinaryIO) -> Image.Image | None:
    """A TIFF of three channels of 8 or 16 bits that are not said to be red, green and blue.

    GDAL writes those of 16 bits so. No more than the directory is read. Channels that lie one after
    the other are :func:`redescribed`, for Pillow goes by what the file says there.
    """
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return ColourTiff(stream)
        except DAMAGE:
            return None


def redescribed(stream: BinaryIO) -> Image.Image | None:
    """A TIFF of a kind that Pillow has no name for, by another name.

    Those are deep grey whose lowest sample is white, but for one kind; unsigned big-endian samples
    of 32 bits; three channels, one after the other, that are not said to be colours; and grey of 64
    bits or half floats, as NumPy's arrays are written.

    Returns:
        The picture, opened, with the tags and the samples of the file; ``None`` for every other
        one.
    """
    stream.seek(0)
    data = stream.read()
    try:
        tags = _tags(data)
    except DAMAGE:
        return None
    depths, kind = tags.get(_BITS, ()), tags.get(_FORMAT, (_UNSIGNED,))
    if _is_colour(tags):
        return Image.open(io.BytesIO(_described(data, {**tags, _PHOTOMETRIC: (_RGB,)})))
    if _is_wide(tags):
        return _viewed(data, tags)
    if tags.get(_PHOTOMETRIC) not in ((_WHITE_IS_ZERO,), (_BLACK_IS_ZERO,)):
        return None
    if len(depths) != 1 or depths[0] not in _DEEP:
        return None
    changed = {**tags, _PHOTOMETRIC: (_BLACK_IS_ZERO,)}
    if kind == (_UNSIGNED,) and depths == (32,) and data.startswith(b"MM"):
        changed[_FORMAT] = (_SIGNED,)  # of the same bytes
    if changed == tags:
        return None
    picture: Any = Image.open(io.BytesIO(_described(data, changed)))
    picture.tag_v2[_PHOTOMETRIC], picture.tag_v2[_FORMAT] = tags[_PHOTOMETRIC][0], kind
    opened: Image.Image = picture
    return opened


def _is_colour(tags: Mapping[int, tuple[int, ...]]) -> bool:
    return (
        (tags.get(_PHOTOMETRIC), tags.get(_CHANNELS)) == ((_BLACK_IS_ZERO,), (3,))
        and tags.get(_BITS, ()) in ((8,) * 3, (16,) * 3)
        and set(tags.get(_FORMAT, ())) <= {_UNSIGNED}
        and tags.get(_COMPRESSION) != (_JPEG,)  # whose tables stand in a tag of their own
    )


def _is_wide(tags: Mapping[int, tuple[int, ...]]) -> bool:
    kind, depths = tags.get(_FORMAT, (_UNSIGNED,)), tags.get(_BITS, ())
    return (
        tags.get(_CHANNELS, (1,)) == (1,)
        and tags.get(_PHOTOMETRIC) in ((_WHITE_IS_ZERO,), (_BLACK_IS_ZERO,))
        and tags.get(_PREDICTOR, (1,)) == (1,)
        and len(kind) == len(depths) == 1
        and (kind[0], depths[0]) in _WIDE
    )


def _viewed(data: bytes, tags: Mapping[int, tuple[int, ...]]) -> Image.Image:
    """Samples of which Pillow is asked for the bytes alone.

    Raises:
        ImageError: too large.
    """
    width, height = tags[_WIDTH][0], tags[_HEIGHT][0]
    what = f"The TIFF, {width}x{height} px,"
    limits.check(width * height, "image_pixels", what=what, error=ImageError)
    dtype = np.dtype(_WIDE[tags.get(_FORMAT, (_UNSIGNED,))[0], tags[_BITS][0]])
    changed = {**tags, _FORMAT: (_UNSIGNED,), _PHOTOMETRIC: (_BLACK_IS_ZERO,)}
    changed.pop(_ORIENTATION, None)
    if dtype.itemsize > _SHORT_BYTES:  # as twice as many pixels of four bytes, in the file's order
        changed |= {_PHOTOMETRIC: (_CMYK,), _CHANNELS: (4,), _BITS: (8,) * 4}
        changed |= {tag: (2 * tags[tag][0],) for tag in (_WIDTH, _TILE_WIDTH) if tag in tags}
        dtype = dtype.newbyteorder("<" if data[:2] == b"II" else ">")
    with Image.open(io.BytesIO(_described(data, changed))) as stored:
        numbers = np.asarray(stored)
    native = numbers.astype(np.uint16) if dtype.itemsize == _SHORT_BYTES else numbers
    samples = native.reshape(height, -1).view(dtype)
    samples = samples if tags[_PHOTOMETRIC] == (_BLACK_IS_ZERO,) else -samples.astype(np.float64)
    picture = grey_picture(samples)
    picture.getexif()[_ORIENTATION] = tags.get(_ORIENTATION, (1,))[0]
    return picture


def deep_planes(data: bytes) -> Iterator[Array]:
    """The channels of a TIFF that lie one after the other, each (H, W) with all of its bits."""
    tags = _tags(data)
    channels = tags[_CHANNELS][0]
    for channel in range(channels):
        changed = {**tags, _PHOTOMETRIC: (_BLACK_IS_ZERO,), _CHANNELS: (1,), _PLANAR: (_TOGETHER,)}
        for tag in (_BITS, _FORMAT):
            if tag in tags:
                changed[tag] = tags[tag][:1]
        for tag in (*_OFFSETS, *_LENGTHS):
            if tag in tags:
                each = len(tags[tag]) // channels
                changed[tag] = tags[tag][channel * each : (channel + 1) * each]
        with Image.open(io.BytesIO(_described(data, changed))) as plane:
            yield np.asarray(plane)


def _tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """The tags of the first directory that say where samples are, and of what kind."""
    found = all_tags(io.BytesIO(data))
    return {tag: found[tag] for tag in (*_LONG, *_SHORT) if tag in found}


def all_tags(stream: BinaryIO) -> dict[int, tuple[Any, ...]]:
    """The tags of the first directory of a file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return _loaded(stream)
    except Exception as error:  # a damaged directory raises whatever it likes
        raise ValueError(f"The first directory is damaged: {error}") from error


def _loaded(stream: BinaryIO) -> dict[int, tuple[Any, ...]]:
    stream.seek(0)
    header = stream.read(8)
    if header[2:3] == b"\x2b" or header[3:4] == b"\x2b":  # BigTIFF
        header += stream.read(8)
    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    stream.seek(directory.next)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of damage, of which nothing is asked
        directory.load(stream)
    found = {tag: directory[tag] for tag in directory}
    return {tag: value if isinstance(value, tuple) else (value,) for tag, value in found.items()}


def _described(data: bytes, tags: Mapping[int, tuple[int, ...]]) -> bytes:
    """The file with another directory."""
    order = "<" if data[:2] == b"II" else ">"
    start = len(data) + len(data) % 2
    behind = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, numbers in sorted(tags.items()):
        kind, letter = (4, "I") if tag in _LONG else (3, "H")
        packed = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", behind + len(values))
            values += packed + bytes(len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + place
    head = data[:2] + struct.pack(f"{order}HI", 42, start)
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + values
    return b"".join((head, data[8:], bytes(len(data) % 2), directory))
