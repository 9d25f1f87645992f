"""A small picture."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rgb(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
