"""Damage that a picture's decoder does not tell.

A file of which the rest was never written, but its room is there, ends in zeros: a download that
stopped, a card that lost its power. Zeros are a picture to decoders: what is missing is grey, black
or noise. JPEG has a mark at its end and PNG sums of its parts, which Pillow does not look at; WebP,
AVIF and HEIC have neither, but samples that are compressed never end in thousands of zeros.
"""

from __future__ import annotations

import os
import zlib
from typing import Any, BinaryIO

from samedge.pixels import png_chunks

_JPEG, _PNG, _BOXED = ("JPEG", "MPO"), ("PNG",), ("WEBP", "AVIF", "HEIF")
_SCAN, _END, _MARK = 0xDA, b"\xff\xd9", 0xFF
_BLOCK_BYTES = 1 << 20
_CLUSTER_BYTES = 4096  # the least that disks and cards keep apart


def is_damaged(picture: Any) -> bool:
    """Whether a picture, opened and not decoded yet, is damaged in a way that its decoder hides."""
    file = getattr(picture, "fp", None)
    if file is None:
        return False
    place = file.tell()
    try:
        if picture.format in _JPEG:
            return _enters_scan(file) and not _finds_end(file)
        if picture.format in _PNG:
            return _has_wrong_sum(file)
        return picture.format in _BOXED and _ends_in_zeros(file)
    finally:
        file.seek(place)


def _enters_scan(file: BinaryIO) -> bool:
    """Whether the samples of a JPEG begin somewhere; the file stands there then."""
    file.seek(2)
    while len(mark := file.read(2)) == 2:
        if mark[0] != _MARK:
            return False
        if mark[1] == _MARK:  # filling
            file.seek(-1, os.SEEK_CUR)
            continue
        length = int.from_bytes(file.read(2), "big")
        if mark[1] == _SCAN:
            return True
        if length < 2:
            return False
        file.seek(length - 2, os.SEEK_CUR)
    return False


def _finds_end(file: BinaryIO) -> bool:
    """Whether the mark follows: among samples, no other byte follows one of 255 but 0."""
    start = file.tell()
    if file.seek(-len(_END), os.SEEK_END) >= start and file.read(len(_END)) == _END:
        return True
    file.seek(start)
    last = b""
    while block := file.read(_BLOCK_BYTES):
        if _END in last + block:
            return True
        last = block[-1:]
    return False


def _has_wrong_sum(file: BinaryIO) -> bool:
    """Whether one of the parts of a PNG's samples is not what its sum says."""
    for kind, length in png_chunks.chunks(file):
        if kind != b"IDAT":
            continue
        found, left = zlib.crc32(kind), length
        while left and (block := file.read(min(left, _BLOCK_BYTES))):
            found, left = zlib.crc32(block, found), left - len(block)
        if left or found != int.from_bytes(file.read(4), "big"):
            return True
    return False


def _ends_in_zeros(file: BinaryIO) -> bool:
    if file.seek(0, os.SEEK_END) < 2 * _CLUSTER_BYTES:
        return False
    file.seek(-_CLUSTER_BYTES, os.SEEK_END)
    return not any(file.read(_CLUSTER_BYTES))
