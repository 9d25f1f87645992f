"""Which way up a picture's masks are: the one frame of reference, and how other files say theirs.

samedge's frame is the upright picture, the orientation in EXIF applied: what people see when they
click. Annotation files of samedge say so with ``"frame": "upright"`` beside each image's size.
Other files say nothing, and were drawn either on the upright picture or, as COCO's own, on the
stored pixels. Where the size that they state fits only one of the two, it decides; else upright.
"""

from __future__ import annotations

from pathlib import Path

from samedge.pixels.images import load_image, load_stored
from samedge.pixels.sample_range import SampleRange
from samedge.types import Array, Size

UPRIGHT, STORED = "upright", "stored"
FRAMES = (UPRIGHT, STORED)


def load_in_frame(
    path: Path, size: Size, *, frame: str | None = None, sample_range: SampleRange = "auto"
) -> Array:
    """Read a picture the way up in which its masks were drawn.

    Args:
        path: the picture's file.
        size: ``(height, width)`` of its masks.
        frame: ``"upright"`` or ``"stored"``; ``None`` where the annotations do not say.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.

    Returns:
        (H, W, 3) uint8 RGB, of another size than ``size`` where the picture has no such frame.

    Raises:
        ImageError: not a usable image.
    """
    image = load_image(path, range=sample_range)
    if frame == UPRIGHT or (frame is None and image.shape[:2] == tuple(size)):
        return image
    stored = load_stored(path, range=sample_range)
    return stored if frame == STORED or stored.shape[:2] == tuple(size) else image
