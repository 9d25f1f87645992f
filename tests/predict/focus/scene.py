"""The picture that is looked at twice, and a small box in it."""

from __future__ import annotations

import numpy as np

SIZE = (240, 320)
SMALL = (100.0, 80.0, 130.0, 104.0)


def filled(box: tuple[float, ...]) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    x0, y0, x1, y1 = map(int, box)
    mask[y0:y1, x0:x1] = True
    return mask
