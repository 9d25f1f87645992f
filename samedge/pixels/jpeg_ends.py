"""Whether a JPEG is all there, where its decoder does not tell.

A file of which the rest was never written, but its room is there, ends in zeros: a download that
stopped, a card that lost its power. Zeros are a picture to the decoder: what is missing is grey.
"""

from __future__ import annotations

from typing import Any, BinaryIO

_KINDS = ("JPEG", "MPO")
_SCAN, _END, _MARK = 0xDA, b"\xff\xd9", 0xFF
_BLOCK_BYTES = 1 << 20


def is_unended(picture: Any) -> bool:
    """Whether a picture, opened and not decoded yet, is a JPEG without the mark at its end."""
    file = getattr(picture, "fp", None)
    if picture.format not in _KINDS or file is None or not getattr(picture, "tile", None):
        return False
    place = file.tell()
    try:
        return _enters_scan(file) and not _finds_end(file)
    finally:
        file.seek(place)


def _enters_scan(file: BinaryIO) -> bool:
    """Whether the samples begin somewhere; the file stands there then."""
    file.seek(2)
    while len(mark := file.read(2)) == 2:
        if mark[0] != _MARK:
            return False
        if mark[1] == _MARK:  # filling
            file.seek(-1, 1)
            continue
        length = int.from_bytes(file.read(2), "big")
        if mark[1] == _SCAN:
            return True
        if length < 2:
            return False
        file.seek(length - 2, 1)
    return False


def _finds_end(file: BinaryIO) -> bool:
    """Whether the mark follows: among samples, no other byte follows one of 255 but 0."""
    last = b""
    while block := file.read(_BLOCK_BYTES):
        if _END in last + block:
            return True
        last = block[-1:]
    return False
