"""Pictures as files, written in one step."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from samedge.errors import WriteError
from samedge.files.writing import replacing
from samedge.types import Array


def save_picture(path: Path, pixels: Array) -> Path:
    """Write an (H, W) or (H, W, 3) uint8 picture in the format of its ending.

    Raises:
        WriteError: it cannot be written.
    """
    with replacing(path) as temporary:
        save_into(temporary, Image.fromarray(pixels))
    return path


def save_into(path: Path, picture: Image.Image) -> None:
    """Write a Pillow picture; what Pillow says of an odd size becomes a ``WriteError``."""
    try:
        picture.save(path)
    except ValueError as error:
        raise WriteError(
            f"A picture of {picture.width} x {picture.height} pixels cannot be a {path.suffix} "
            f"({error}): write a .png."
        ) from error
