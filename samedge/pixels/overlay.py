"""Draws masks, points and boxes on an image: translucent fill, crisp outline, markers.

Only NumPy and Pillow. The colours are those of Okabe and Ito ("Color Universal Design", 2008),
which people with any common colour vision tell apart; points differ in their sign as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from samedge.errors import ImageError
from samedge.pixels.labels import draw_labels
from samedge.types import BACKGROUND, Array, Prompt

Color = tuple[int, int, int]

PALETTE: tuple[Color, ...] = (
    (86, 180, 233),  # sky blue
    (230, 159, 0),  # orange
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (240, 228, 66),  # yellow
    (213, 94, 0),  # vermillion
    (0, 114, 178),  # blue
)
FOREGROUND_COLOR, BACKGROUND_COLOR, CASING = (0, 158, 115), (213, 94, 0), (255, 255, 255)
OPACITY = 0.45
_SUPERSAMPLING = 4


def draw_masks(
    image: Array,
    masks: Array,
    *,
    prompts: Sequence[Prompt] = (),
    labels: Sequence[str] = (),
    opacity: float = OPACITY,
) -> Array:
    """Draw masks, and the prompts that asked for them, on a copy of an image.

    Large masks are drawn first, so that small ones stay visible on them.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: (M, H, W) bool, in the image's frame; M may be 0.
        prompts: their points and boxes are drawn over the masks; where each prompt has one mask, a
            box has its mask's colour.
        labels: short words on the masks, one each; none where it is empty.
        opacity: of the fill, 0 to 1.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: image and masks do not have the same height and width.
    """
    if masks.ndim != 3 or masks.shape[1:] != image.shape[:2]:
        raise ImageError(
            f"masks of shape {masks.shape} do not lie on an image of shape {image.shape}: "
            "expected (M, H, W) masks in the original image's frame."
        )
    canvas = np.array(image, np.float32)
    width = line_width(image.shape[:2])
    areas = masks.sum((1, 2))
    for index in np.argsort(-areas, kind="stable"):
        if areas[index]:
            _blend_mask(canvas, masks[index], PALETTE[index % len(PALETTE)], width, opacity)
    picture = Image.fromarray(canvas.round().astype(np.uint8))
    paired = len(prompts) == len(masks)
    for index, prompt in enumerate(prompts):
        color = PALETTE[index % len(PALETTE)] if paired else FOREGROUND_COLOR
        _draw_prompt(picture, prompt, width, color)
    if labels:
        draw_labels(picture, masks, labels=labels)
    return np.asarray(picture)


def line_width(size: tuple[int, int]) -> float:
    """Width of outlines in pixels that suits an image of this (height, width)."""
    return max(1.5, max(size) / 400)


def _blend_mask(canvas: Array, mask: Array, color: Color, width: float, opacity: float) -> None:
    """Blend one mask into the float canvas in place, touching only its surroundings."""
    margin = int(np.ceil(2 * width)) + 2
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    window = np.s_[top : rows[-1] + margin + 1, left : columns[-1] + margin + 1]
    inside = mask[window]
    halo = outline(inside, width * 2.2)[..., None] * 0.85
    line = outline(inside, width)[..., None]
    area = canvas[window]
    area += (inside[..., None] * opacity) * (np.array(color, np.float32) - area)
    area += halo * (np.array(CASING, np.float32) - area)
    area += line * (_darker(color) - area)


def _darker(color: Color) -> Array:
    return np.array(color, np.float32) * 0.72


def outline(mask: Array, width: float) -> Array:
    """Coverage of the mask's outline, a line of ``width`` pixels with smooth edges.

    A blurred straight edge is the normal distribution's integral of the distance to it, so a band
    of the blurred mask around one half is a line; structures too thin for that keep their own
    border pixels.

    Args:
        mask: (H, W) bool.
        width: pixels.

    Returns:
        (H, W) float32, 0 to 1.
    """
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(width)), np.float32) / 255
    # At half a width from the edge: 2 * Phi(0.5) - 1 = 0.383. One pixel of distance moves the
    # blurred value by 0.8 / width there, over which the line fades.
    band = np.clip((0.383 - np.abs(2 * blurred - 1)) * width / 0.7 + 0.5, 0, 1)
    shrunk = np.asarray(picture.filter(ImageFilter.MinFilter(3))) > 0
    thin = mask & ~shrunk & (blurred < 0.31)
    return np.asarray(np.maximum(band, thin), np.float32)


def _draw_prompt(picture: Image.Image, prompt: Prompt, width: float, color: Color) -> None:
    if prompt.box is not None:
        _draw_box(picture, [float(value) for value in prompt.box], width, color)
    for point, label in zip(prompt.points, prompt.labels, strict=True):
        marker = _marker(int(label), radius=max(5.0, 3.2 * width))
        corner = (round(point[0] - marker.width / 2), round(point[1] - marker.height / 2))
        picture.paste(marker, corner, marker)


def _draw_box(picture: Image.Image, box: Sequence[float], width: float, color: Color) -> None:
    draw = ImageDraw.Draw(picture)
    line = max(2, round(width * 1.2))
    x0, y0, x1, y1 = (round(value) for value in box)
    draw.rectangle([x0 - 1, y0 - 1, x1 + 1, y1 + 1], outline=CASING, width=line + 2)
    draw.rectangle([x0, y0, x1, y1], outline=color, width=line)


def _marker(label: int, *, radius: float) -> Image.Image:
    """A disc with a plus (foreground) or a minus (background), RGBA, supersampled."""
    scale = _SUPERSAMPLING
    side = 2 * int(np.ceil(radius)) + 3
    tile = Image.new("RGBA", (side * scale, side * scale), (*CASING, 0))
    draw = ImageDraw.Draw(tile)
    center, outer = side * scale / 2, radius * scale
    inner, arm, half = outer * 0.8, outer * 0.45, outer * 0.11
    color = BACKGROUND_COLOR if label == BACKGROUND else FOREGROUND_COLOR
    for reach, ink in ((outer, CASING), (inner, color)):
        draw.ellipse([center - reach, center - reach, center + reach, center + reach], fill=ink)
    draw.rectangle([center - arm, center - half, center + arm, center + half], fill=CASING)
    if label != BACKGROUND:
        draw.rectangle([center - half, center - arm, center + half, center + arm], fill=CASING)
    return tile.resize((side, side), Image.Resampling.BOX)
