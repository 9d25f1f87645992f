"""The image with its masks and prompts drawn on it, for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samedge.formats.base import ImageFormat, Writer
from samedge.formats.masks import ImageMasks
from samedge.formats.pictures import save_picture
from samedge.pixels.overlay import draw_masks

_GREY = 128


class _Overlay(ImageFormat):
    summary = "the image with its masks drawn on it, for people"
    endings = (".png", ".jpg", ".jpeg", ".webp")
    tail = "_overlay"
    chosen_by = (".jpg", ".jpeg")
    is_read = False
    draws = True

    def write_image(self, path: Path, image: ImageMasks, *, writer: Writer) -> list[Path]:
        pixels = image.pixels
        if pixels is None:
            pixels = np.full((*image.size, 3), _GREY, np.uint8)
        drawn = draw_masks(pixels, image.stacked(), prompts=image.prompts)
        return [save_picture(path, drawn)]


FORMAT = _Overlay()
