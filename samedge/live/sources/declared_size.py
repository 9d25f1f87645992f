"""How long a video file says it is: one whose download or copy stopped holds less, and plays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_INDEX = (b"moov", b"moof")
_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
_UNFINISHED = (0, 0xFFFFFFFF)  # what stands in an AVI that was streamed


def missing_bytes(path: Path) -> int:
    """How many bytes of MP4, MOV, Matroska, WebM or AVI lie beyond the end of the file.

    Returns:
        0 for a whole file, one that does not say how long it is, and every other kind.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[4:8] == b"ftyp":
            end = _boxes(file, size)[1]
        elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            length = int.from_bytes(head[4:8], "little")
            end = 0 if length in _UNFINISHED else 8 + length
        else:
            end = _end_of_segment(file) if head[:4] == _EBML else 0
    return max(0, end - size)


def has_index(file: BinaryIO) -> bool:
    """Whether an MP4 or MOV has the box that says where its frames are, or is in fragments."""
    return _boxes(file, file.seek(0, os.SEEK_END))[0]


def _boxes(file: BinaryIO, size: int) -> tuple[bool, int]:
    """Whether one of the boxes is an index, and where the last one ends by its own word."""
    at, is_indexed = 0, False
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        is_indexed |= kind in _INDEX
        if length == 1:  # the length did not fit into four bytes
            length = int.from_bytes(header[8:16], "big")
        if length < 8:  # the last box has 0
            break
        at += length
    return is_indexed, at


def _end_of_segment(file: BinaryIO) -> int:
    """Where the segment of a Matroska file ends, which holds everything; 0 where it is open."""
    file.seek(len(_EBML))
    header = _length(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    length = _length(file)
    return 0 if length is None else file.tell() + length


def _length(file: BinaryIO) -> int | None:
    """The length of an element: as many bytes more as its first one has zeros in front."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
