"""How long a video file says it is: one whose download or copy stopped holds less, and plays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_INDEX = (b"moov", b"moof")
_BOXES = frozenset(
    b"ftyp styp moov moof mfra mdat imda idat free skip wide meta udta uuid sidx ssix prft emsg "
    b"pdin pnot PICT bloc etyp".split()
)
"""What stands outside in MP4 and MOV; anything else is something that was put behind the file."""

EBML = b"\x1aE\xdf\xa3"
"""What Matroska and WebM begin with."""

_SEGMENT = b"\x18S\x80g"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_PACKETS = ((188, 0), (192, 4), (204, 0))  # of MPEG-TS: a packet's length, and where its mark is
_MARK, _HEAD_BYTES = 0x47, 4096
_UNFINISHED = (0, 0xFFFFFFFF)  # what stands in an AVI that was streamed


def missing_bytes(path: Path) -> int:
    """How many bytes of MP4, MOV, Matroska, WebM, AVI, WMV or MPEG-TS lie beyond a file's end.

    Of MPEG-TS, which is as long as it is, those are bytes of its last packet.

    Returns:
        0 for a whole file, one that does not say how long it is, and every other kind.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD_BYTES)
        if head[4:8] == b"ftyp":
            end = _boxes(file, size)[1]
        elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            end = _end_of_riffs(file, size)
        elif head[:4] == EBML:
            end = _end_of_segment(file)
        else:
            end = _end_of_asf(head) if head.startswith(_ASF) else _end_of_packets(file, size, head)
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
        if kind not in _BOXES:
            break
        is_indexed |= kind in _INDEX
        if length == 1:  # the length did not fit into four bytes
            length = int.from_bytes(header[8:16], "big")
        if length < 8:  # the last box has 0
            break
        at += length
    return is_indexed, at


def _end_of_riffs(file: BinaryIO, size: int) -> int:
    """Where the last part of an AVI ends, for a large one is several; 0 where it was streamed."""
    at = end = 0
    while at < size:
        file.seek(at)
        header = file.read(8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF" or length in _UNFINISHED:
            break
        end = at + 8 + length
        at = end + length % 2
    return end


def enters_segment(file: BinaryIO) -> bool:
    """Whether a Matroska file has a segment, which holds everything; its length is read next."""
    file.seek(len(EBML))
    header = element_length(file)
    if header is None:
        return False
    file.seek(header, os.SEEK_CUR)
    return file.read(4) == _SEGMENT


def _end_of_segment(file: BinaryIO) -> int:
    """Where the segment of a Matroska file ends; 0 where it is open."""
    length = element_length(file) if enters_segment(file) else None
    return 0 if length is None else file.tell() + length


def element_length(file: BinaryIO) -> int | None:
    """The length of an element: as many bytes more as its first one has zeros in front."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _end_of_asf(head: bytes) -> int:
    """Where a WMV says that it ends; 0 where it was broadcast, and nobody knew."""
    at = head.find(_ASF_FILE)
    is_broadcast = at < 0 or head[at + 88 : at + 89] != b"\2"  # of its flags: it can be sought in
    return 0 if is_broadcast else int.from_bytes(head[at + 40 : at + 48], "little")


def _end_of_packets(file: BinaryIO, size: int, head: bytes) -> int:
    """Where the last packet of MPEG-TS ends; 0 for all else, and where something else follows."""
    for length, mark in _PACKETS:
        if all(head[at : at + 1] == bytes([_MARK]) for at in range(mark, 4 * length, length)):
            last = size - size % length
            file.seek(last + mark)
            return last + length if file.read(1) == bytes([_MARK]) else 0
    return 0
