"""What a video file ends with, of kinds that do not say how long they are.

A file that was cut between two frames holds nothing that is damaged: FFmpeg ends there as at the
end of a whole one. What is missing is the mark that the kind puts last, or the rest of a frame
that FFmpeg leaves out without a word.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from samedge.errors import SourceError
from samedge.live.sources import gif
from samedge.live.sources.declared_size import EBML, element_length, enters_segment, missing_bytes

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_LONGEST_JPEG = 1 << 26
_OGG, _LONGEST_OGG_PAGE = b"OggS", 27 + 255 + 255 * 255
_OGG_IS_LAST = 4
_Y4M, _Y4M_FRAME = b"YUV4MPEG2 ", b"FRAME"
_CLUSTER = b"\x1f\x43\xb6\x75"
_MXF = bytes.fromhex("060e2b34020501010d010201")  # of every partition's key (SMPTE ST 377-1)
_MXF_HEAD, _MXF_FOOTER = 16, 24  # bytes of the key, and of what stands before the footer's place
_BLOCK_BYTES = 1 << 20

_IN_FRAME = "within a frame"


def check_whole(path: Path, *, is_cut: bool = False, read_to: int | None = None) -> None:
    """Whether a video that was read to its end is all there.

    Args:
        path: of the file.
        is_cut: whoever read it found its end damaged.
        read_to: where the last frame that was found ends.

    Raises:
        SourceError: it is not.
    """
    missing = missing_bytes(path)
    if missing:
        raise SourceError(
            f"{path} ends too early: {missing} bytes that it says it has are not there. Copy or "
            "download it again; the frames before that were read."
        )
    cut = _IN_FRAME if is_cut else missing_end(path, read_to=read_to)
    if cut is not None:
        raise SourceError(
            f"{path} ends too early, {cut}, as where a copy or the recording itself stopped. Copy "
            "it again if the original is longer; the frames before that were read."
        )


def missing_end(path: Path, *, read_to: int | None = None) -> str | None:
    """What is not there at the end of a GIF, APNG, Ogg, YUV4MPEG, MXF, raw MJPEG or live Matroska.

    Args:
        path: of the file.
        read_to: where the last frame that FFmpeg found ends.

    Returns:
        Words that follow "ends too early"; ``None`` for a whole file and for every other kind.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        if head.startswith(gif.START):
            return None if gif.ends(file, size) else "without the byte that ends every GIF"
        if head.startswith(_PNG):
            return None if _png_ends(file, size) else "without the chunk that ends every PNG"
        if head.startswith(_OGG):
            return None if _ogg_ends(file, size) else "without the page that ends every Ogg"
        if head.startswith(_Y4M) and read_to is not None:
            return _IN_FRAME if _begins(file, read_to, _Y4M_FRAME) else None
        if head.startswith(_JPEG):
            return None if _jpeg_ends(file, size) else _IN_FRAME
        if head.startswith(_MXF):
            return None if _mxf_ends(file, size) else "without its footer"
        if head.startswith(EBML):
            return None if _clusters_end(file, size) else _IN_FRAME
    return None


def _png_ends(file: BinaryIO, size: int) -> bool:
    at = len(_PNG)
    while at + 12 <= size:
        file.seek(at)
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        at += 12 + length
        if kind == b"IEND":
            return at <= size
    return False


def _ogg_ends(file: BinaryIO, size: int) -> bool:
    """Whether the last page is whole, and says that it is the last one of its stream."""
    start = max(0, size - 2 * _LONGEST_OGG_PAGE)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(_OGG + b"\0")
    if at < 0:
        return start > 0  # something else lies behind it
    header = tail[at : at + 27]
    if len(header) < 27:
        return False
    lengths = tail[at + 27 : at + 27 + header[26]]
    is_whole = len(lengths) == header[26] and at + 27 + header[26] + sum(lengths) <= len(tail)
    return is_whole and bool(header[5] & _OGG_IS_LAST)


def _begins(file: BinaryIO, at: int, word: bytes) -> bool:
    """Whether a word, or the beginning of it before the end of the file, stands at a place."""
    file.seek(at)
    found = file.read(len(word))
    return bool(found) and word.startswith(found)


def _mxf_ends(file: BinaryIO, size: int) -> bool:
    """Whether the footer is there, where the head says of one where it is."""
    file.seek(_MXF_HEAD)
    length = file.read(1)
    file.seek(length[0] & 0x7F if length and length[0] > 0x7F else 0, os.SEEK_CUR)
    file.seek(_MXF_FOOTER, os.SEEK_CUR)
    footer = int.from_bytes(file.read(8), "big")
    if not footer or footer >= size:
        return not footer
    file.seek(footer)
    return file.read(len(_MXF)) == _MXF


def _jpeg_ends(file: BinaryIO, size: int) -> bool:
    """Whether no picture begins behind the end of the last whole one."""
    behind, at = b"", size
    while at > max(0, size - _LONGEST_JPEG):
        length = min(_BLOCK_BYTES, at)
        at -= length
        file.seek(at)
        behind = file.read(length) + behind[:2]
        end, begin = behind.rfind(_JPEG_END), behind.rfind(_JPEG)
        if end >= 0 or begin >= 0:
            return end > begin
    return True


def _clusters_end(file: BinaryIO, size: int) -> bool:
    """Whether the last block is whole in a Matroska that was written as it was recorded."""
    if not enters_segment(file) or element_length(file) is not None:
        return True  # it says how long it is
    while (at := file.tell()) < size:
        first = file.read(1)
        if first[0] < 0x10:  # nothing that Matroska has
            return True
        kind = first + file.read(8 - first[0].bit_length())
        length = element_length(file)
        if length is None and kind == _CLUSTER:  # of unknown length: its blocks follow
            continue
        if length is None:
            return size - at >= 12  # cut within the element's head, or of a kind that is not known
        if file.seek(length, os.SEEK_CUR) > size:
            return False
    return True
