"""The blocks of a GIF: where it ends, and the pictures between which FFmpeg tells no difference.

FFmpeg finds a picture by the control block before it. An animation without delays, as Pillow saves
one that it is told none for, needs none of those: FFmpeg takes all of it for its first picture.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from samedge.live.sources.base import Grab
from samedge.pixels.picture_files import opened_picture

START = b"GIF8"
_EXTENSION, _IMAGE, END = b"!", b",", b";"
_CONTROL = b"\xf9"
_WEBP_HEAD, _WEBP_ANIMATED = 21, 2  # with the flags of its first chunk, and one of them
_USUAL_MS = 100  # FFmpeg's own, of a picture that says none


def ends(file: BinaryIO, size: int) -> bool:
    """Whether the blocks lead to the trailer; what follows that is no part of the GIF."""
    file.seek(max(0, size - 2))
    if file.read(2) == b"\0" + END:  # the end of the last block, and the trailer
        return True
    return any(kind[:1] not in (_EXTENSION, _IMAGE) for kind in _blocks(file))


def hides_pictures(path: Path) -> bool:
    """Whether a file is a GIF of several pictures, one of them without a control block."""
    controls = pictures = uncontrolled = 0
    with contextlib.suppress(OSError), path.open("rb") as file:  # FFmpeg says what is wrong
        if file.read(len(START)) != START:
            return False
        for kind in _blocks(file):
            if kind[:1] == _IMAGE:
                pictures += 1
                uncontrolled += not controls
                controls = 0
            controls += kind == _EXTENSION + _CONTROL
    return pictures > 1 and uncontrolled > 0


def is_animated_webp(path: Path) -> bool:
    """Whether a file is an animation in WebP, which FFmpeg has no decoder for."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(_WEBP_HEAD)
        is_webp = (head[:4], head[8:16]) == (b"RIFF", b"WEBPVP8X")
        return is_webp and len(head) == _WEBP_HEAD and bool(head[-1] & _WEBP_ANIMATED)
    return False


def grabs(path: Path) -> Generator[Grab, None, None]:
    """Every picture of a GIF or a WebP, through Pillow; it ends where one does not decode."""
    with opened_picture(path) as (animation, _):
        due_ms = 0.0
        for number in range(getattr(animation, "n_frames", 1)):
            try:
                animation.seek(number)
                image = np.asarray(animation.convert("RGB"))
            except (EOFError, OSError, ValueError, SyntaxError):
                image = None
            yield Grab(image, due_ms / 1000)
            if image is None:
                return
            due_ms += animation.info.get("duration") or _USUAL_MS


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """What each block is, to the trailer or to whatever is none; no more where the file is cut."""
    file.seek(10)
    _skip_colours(file, file.read(1))
    file.seek(2, os.SEEK_CUR)
    while kind := file.read(1):
        if kind == _IMAGE:
            _skip_colours(file, file.read(9)[8:])
            file.seek(1, os.SEEK_CUR)
        elif kind == _EXTENSION:
            kind += file.read(1)
        else:
            yield kind
            return
        while length := file.read(1):
            if length == b"\0":
                yield kind
                break
            file.seek(length[0], os.SEEK_CUR)


def _skip_colours(file: BinaryIO, flags: bytes) -> None:
    if flags and flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, os.SEEK_CUR)
