"""All sixteen bits of colour pictures, of which Pillow's modes hold eight.

Pillow reads one byte of each 16-bit sample, and which of the two is part of a tile's description:
so a file is decoded twice. The same holds for grey with alpha.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from PIL import Image

_NATIVE_LOW = "16B" if sys.byteorder == "little" else "16L"
_OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": _NATIVE_LOW}
_COLOURS = ("RGB", "RGBA", "RGBX")
_GREY_ALPHA = "LA;16B"


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
    again = Image.open(io.BytesIO(file.read()))
    again.tile = [tile._replace(args=args) for tile, args in zip(again.tile, other, strict=True)]
    again.load()
    # Read as four channels, LA's are high and low byte of grey, then of alpha.
    return again.getchannel(1) if tiles[0].args == _GREY_ALPHA else again


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
