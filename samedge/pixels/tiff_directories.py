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

from samedge.types import Array

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _CHANNELS, _PLANAR = 256, 257, 258, 262, 277, 284
_FORMAT, _UNSIGNED, _SIGNED = 339, 1, 2
_OFFSETS, _LENGTHS = (273, 324), (279, 325)  # of strips, of tiles
_SIZES = (_WIDTH, _HEIGHT, 278, 322, 323)  # the last three of strips and tiles
_LONG = (*_SIZES, *_OFFSETS, *_LENGTHS)
_SHORT = (_BITS, 259, _PHOTOMETRIC, 266, 274, _CHANNELS, _PLANAR, 317, _FORMAT)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _TOGETHER = 0, 1, 1
_DEEP = (16, 32)


def deep_grey(stream: BinaryIO) -> Image.Image | None:
    """A TIFF of deep grey of a kind that Pillow has no name for.

    Those are the ones whose lowest sample is white, but for one, and unsigned big-endian samples of
    32 bits.

    Returns:
        The picture, opened, with the tags and the samples of the file; ``None`` for every other
        one.
    """
    stream.seek(0)
    data = stream.read()
    try:
        tags = _tags(data)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):  # damaged
        return None
    depths, kind = tags.get(_BITS, ()), tags.get(_FORMAT, (_UNSIGNED,))
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
    stream = io.BytesIO(data)
    header = stream.read(8)
    if header[2:3] == b"\x2b" or header[3:4] == b"\x2b":  # BigTIFF
        header += stream.read(8)
    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    stream.seek(directory.next)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of damage, of which nothing is asked
        directory.load(stream)
    found = {tag: directory[tag] for tag in (*_LONG, *_SHORT) if tag in directory}
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
