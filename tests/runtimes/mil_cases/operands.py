"""Weights, scales and tables that the cases share; the same in every run."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(7)


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


W = random(6, 4, 3, 3)
WG = random(6, 2, 3, 3)
WT = random(4, 6, 2, 2)
W1 = random(6, 8)
B6 = random(6)
C4 = [random(4) for _ in range(4)]
VAR4 = np.abs(random(4)) + 0.1
G8, B8 = random(8), random(8)
INT8 = RNG.integers(-128, 128, (4, 8), dtype=np.int8)
UINT8 = RNG.integers(0, 256, (4, 8), dtype=np.uint8)
SCALE4 = (np.abs(random(4)) + 0.05).astype(np.float32)
ZERO4 = RNG.integers(-10, 10, 4, dtype=np.int8)
LUT16 = random(16)
INDEX16 = RNG.integers(0, 16, 32, dtype=np.uint8)
LUT64 = random(64)
INDEX64 = RNG.integers(0, 64, 32, dtype=np.uint8)
MASK = RNG.integers(0, 2, 32, dtype=np.uint8)
BLOCK_SCALE = (np.abs(random(4, 2)) + 0.1).astype(np.float32)
GROUP_LUT = random(2, 1, 16, 1)
VECTOR_LUT = random(1, 1, 16, 2)
