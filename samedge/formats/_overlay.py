"""The image with its masks and prompts drawn on it, for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import UnsetType

from samedge.formats.base import ImageFormat, Writer
from samedge.formats.masks import DEFAULT_CATEGORY, ImageMasks, MaskRecord
from samedge.formats.pictures import save_picture
from samedge.pixels.overlay import draw_masks

_GREY = 128


class _Overlay(ImageFormat):
    summary = "the image with its masks drawn on it, for people"
    endings = (".png", ".jpg", ".jpeg", ".webp")
    tail = "_overlay"
    chosen_by = (".jpg", ".jpeg", ".webp")
    is_read = False
    draws = True

    def write_image(self, path: Path, image: ImageMasks, *, writer: Writer) -> list[Path]:
        pixels = image.pixels
        if pixels is None:
            pixels = np.full((*image.size, 3), _GREY, np.uint8)
        labels = [_label(number, record) for number, record in enumerate(image.masks)]
        drawn = draw_masks(pixels, image.stacked(), prompts=image.prompts, labels=labels)
        return [save_picture(path, drawn)]


def _label(number: int, record: MaskRecord) -> str:
    """The mask's number in tables and files, what it shows, and how sure the model is of that.

    Where nobody named it, it is the mask that the model rates.
    """
    words, rating = [f"#{number}"], record.predicted_iou
    if record.category_name != DEFAULT_CATEGORY:
        words.append(record.category_name)
        rating = None if isinstance(record.word_score, UnsetType) else record.word_score
    if rating is not None:
        words.append(f"{rating:.2f}")
    return "   ".join(words)  # the font's space is narrow


FORMAT = _Overlay()
