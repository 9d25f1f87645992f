"""A PNG's chunks, for what Pillow makes of them: parts of a file as a PNG of their own."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO

START = b"\x89PNG\r\n\x1a\n"
"""The first bytes of every PNG."""

_END = b"\0\0\0\0IEND\xaeB`\x82"
_TELLING = (b"IHDR", b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_MOST_TOLD = 1 << 24  # bytes of them that are looked at
_PIXELS = (b"IHDR", b"PLTE", b"IDAT")
_COLOURS = {b"tRNS": range(1, 257), b"eXIf": range(1, 1 << 16)}  # and how long they may be


def without_pixels(file: BinaryIO) -> bytes:
    """Size, EXIF and texts of a PNG, wherever in it they are; the file stands where it stood."""
    parts, room, is_behind = [START], _MOST_TOLD, False
    for kind, length in chunks(file):
        if kind == b"fcTL" and is_behind:  # as far as Pillow reads for the first frame
            break
        is_behind |= kind == b"IDAT"
        if kind in _TELLING and length <= room:
            parts.append(_chunk(kind, file.read(length)))
            room -= length
    return b"".join([*parts, _END])


def pixels_alone(file: BinaryIO) -> bytes:
    """A PNG without what says nothing of its pixels, and whose damage is none of theirs."""
    parts = [START]
    for kind, length in chunks(file):
        if kind in _PIXELS or length in _COLOURS.get(kind, ()):
            data = file.read(length + 4)
            parts.append(length.to_bytes(4, "big") + kind + data)
    return b"".join([*parts, _END])


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk, while the file stands at its content."""
    place = file.tell()
    at = len(START)
    try:
        while len(head := _read(file, at, 8)) == 8:
            length = int.from_bytes(head[:4], "big")
            yield head[4:], length
            at += length + 12
    finally:
        file.seek(place)


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place, os.SEEK_SET)
    return file.read(count)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
