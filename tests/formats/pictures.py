"""Masks that formats stumble over, and images of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from samedge.formats.masks import ImageMasks, MaskRecord, record_from_mask

Mask = npt.NDArray[np.bool_]
HEIGHT, WIDTH = 48, 64


def blank() -> Mask:
    return np.zeros((HEIGHT, WIDTH), np.bool_)


def disc(x: float, y: float, radius: float) -> Mask:
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray(np.hypot(xs - x, ys - y) < radius)


def ring() -> Mask:
    return disc(20, 20, 14) & ~disc(20, 20, 6)


def nested() -> Mask:
    """A hole with an island in it, which has a hole of one pixel."""
    mask = blank()
    mask[5:40, 5:40] = True
    mask[10:30, 10:30] = False
    mask[15:25, 15:25] = True
    mask[20, 20] = False
    return mask


def parts() -> Mask:
    return disc(12, 12, 8) | disc(50, 36, 9)


def edges() -> Mask:
    mask = blank()
    mask[0, :] = mask[-1, :] = mask[:, 0] = mask[:, -1] = True
    return mask


def pixel() -> Mask:
    mask = blank()
    mask[7, 9] = True
    return mask


def line() -> Mask:
    mask = blank()
    mask[30, 5:40] = True
    return mask


def diagonal() -> Mask:
    mask = blank()
    mask[np.arange(5, 25), np.arange(5, 25)] = True
    return mask


def speckle() -> Mask:
    return np.random.default_rng(3).random((HEIGHT, WIDTH)) < 0.4


SHAPES: dict[str, Mask] = {
    "disc": disc(30, 24, 15),
    "ring": ring(),
    "nested": nested(),
    "parts": parts(),
    "edges": edges(),
    "pixel": pixel(),
    "line": line(),
    "diagonal": diagonal(),
    "speckle": speckle(),
    "full": np.ones((HEIGHT, WIDTH), np.bool_),
}


def image(*shapes: str, name: str = "cam1/0001.png") -> ImageMasks:
    """An image with some of the shapes, each of a category of its own."""
    records: list[MaskRecord] = [
        record_from_mask(
            SHAPES[shape], predicted_iou=0.5 + place / 100, stability_score=0.75, category=shape
        )
        for place, shape in enumerate(shapes)
    ]
    return ImageMasks(name, (HEIGHT, WIDTH), tuple(records))
