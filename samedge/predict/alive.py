"""Whether an encoder still sees: an image's embedding is no constant and no other image's.

A graph can run, be quick and finite, and give the same embedding for everything, from the first day
on (the canary finds that) or after months: a driver that returns an old buffer, a device that has
reset. That is looked for after every encode, on a few thousand numbers.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Mapping

import numpy as np

from samedge.types import Array

_REMEMBERED = 8
"""Images back: buffers go round in twos to fours."""

_GRID = 64
"""Rows and columns of an input that are compared."""

_MAP_GRID = 16
_CHANNEL_STEP = 4
_DIFFERENT = 4.0
"""Mean difference, of 255, from which on two inputs are different images and no noise or still."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    pixels: Array
    tensors: Mapping[str, Array]


class Liveness:
    """Remembers a sample of the last images and their embeddings. Safe to share between threads."""

    def __init__(self) -> None:
        self._seen: deque[_Seen] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def complaint(self, pixels: Array, tensors: Mapping[str, Array]) -> str | None:
        """What is dead about an embedding, or ``None``; it is remembered for the next ones.

        Args:
            pixels: the encoder's input, (1, S, S, 3) uint8 RGB.
            tensors: the embedding.
        """
        samples = {name: _sample(array) for name, array in tensors.items()}
        for name, sample in samples.items():
            if sample.size and _is_constant(sample) and _is_constant(tensors[name]):
                return f"{name} is {float(sample.flat[0]):g} everywhere"
        step = max(pixels.shape[1] // _GRID, 1)
        seen = _Seen(pixels[:, ::step, ::step].copy(), samples)
        with self._lock:
            before = list(self._seen)
            self._seen.append(seen)
        for back, other in enumerate(reversed(before), start=1):
            for name in samples:
                if _is_repeated(name, seen, other):
                    return f"{name} is that of another image, {back} before"
        return None


def _sample(array: Array) -> Array:
    """Every fourth channel of a (1, C, h, w) map at a grid of places; all of what is small."""
    if array.ndim < 4:
        return np.array(array)
    rows, columns = (max(size // _MAP_GRID, 1) for size in array.shape[-2:])
    return np.array(array[..., ::_CHANNEL_STEP, ::rows, ::columns])


def _is_constant(array: Array) -> bool:
    return bool((array == array.flat[0]).all())


def _is_repeated(name: str, one: _Seen, other: _Seen) -> bool:
    """Whether two images have one embedding, to the bit, and are not alike themselves."""
    a, b = one.tensors[name], other.tensors.get(name)
    if b is None or a.shape != b.shape or not np.array_equal(a, b):
        return False
    if one.pixels.shape != other.pixels.shape:
        return True
    difference = np.abs(one.pixels.astype(np.int16) - other.pixels)
    return float(difference.mean()) >= _DIFFERENT
