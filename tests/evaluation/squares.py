"""Three squares on two images, as masks and as annotations."""

from __future__ import annotations

from typing import Any

import numpy as np

from samedge.pixels import rle

SIZE = (120, 160)


def square(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


# Small, medium and large; the last two share an image.
TRUTHS = [
    ("a.png", square(10, 10, 20)),
    ("b.png", square(5, 70, 40)),
    ("b.png", square(50, 10, 100)),
]


def annotation(index: int, image_id: int, mask: np.ndarray) -> dict[str, Any]:
    ys, xs = np.nonzero(mask)
    x0, y0 = int(xs.min()), int(ys.min())
    box = [x0, y0, int(xs.max()) + 1 - x0, int(ys.max()) + 1 - y0]
    return {
        "id": index,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": box,
        "area": int(mask.sum()),
        "segmentation": rle.rle_from_mask(mask),
    }
