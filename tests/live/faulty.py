"""Sources that misbehave, for the capture process: named ``python:tests.live.faulty:NAME``.

Each counts what it gives in the file that ``SAMEDGE_TEST_TALLY`` names, which is the tests' own
count of captured frames. The first pixel row holds the frame's number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT, WIDTH = 48, 64
Frame = Any


def tally() -> Path:
    return Path(os.environ["SAMEDGE_TEST_TALLY"])


def picture(number: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A picture that no other equals; its number stands in its first pixels."""
    rng = np.random.default_rng(number)
    image = rng.integers(30, 220, (height, width, 3), np.uint8)
    image[0, :8, 0] = [(number >> (8 * i)) & 0xFF for i in range(8)]
    return image


def number_of(image: np.ndarray) -> int:
    return sum(int(value) << (8 * i) for i, value in enumerate(image[0, :8, 0]))


def counted(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Write down each frame before it is given, without buffers: it survives a SIGKILL."""
    handle = os.open(tally(), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        for frame in frames:
            os.write(handle, b".")
            yield frame
    finally:
        os.close(handle)


def paced(count: int, *, fps: float, start: int = 0) -> Iterator[Frame]:
    for number in range(start, start + count):
        yield picture(number), number / fps
        time.sleep(1 / fps)


def steady() -> Iterator[Frame]:
    return counted(paced(100_000, fps=100))


def fifty() -> Iterator[Frame]:
    return counted(paced(50, fps=200))


def thousand_fps() -> Iterator[Frame]:
    pictures = [picture(number) for number in range(64)]

    def frames() -> Iterator[Frame]:
        start = time.monotonic()
        for number in range(1000):
            image = pictures[number % 64]
            image[0, :8, 0] = [(number >> (8 * i)) & 0xFF for i in range(8)]
            yield image, number / 1000
            time.sleep(max(0.0, start + (number + 1) / 1000 - time.monotonic()))

    return counted(frames())


def is_first_life() -> bool:
    marker = tally().with_suffix(".lives")
    first = not marker.exists()
    with marker.open("a") as stream:
        stream.write("x")
    return first


def stalls() -> Iterator[Frame]:
    """Hangs in its first life after ten frames, as ``read()`` of a dead camera does."""
    first = is_first_life()

    def frames() -> Iterator[Frame]:
        yield from paced(10, fps=100)
        if first:
            time.sleep(3600)
        yield from paced(1000, fps=100, start=10)

    return counted(frames())


def dies() -> Iterator[Frame]:
    """Takes its process down in its first life."""
    first = is_first_life()

    def frames() -> Iterator[Frame]:
        yield from paced(10, fps=100)
        if first:
            os.abort()
        yield from paced(1000, fps=100, start=10)

    return counted(frames())


def halves() -> Iterator[Frame]:
    """Every third frame is half a frame, or nothing that is one."""

    def frames() -> Iterator[Frame]:
        for number in range(60):
            whole = picture(number)
            broken = (whole[: HEIGHT // 2, :, 0], None, whole.astype(np.float32), b"half")
            yield broken[number // 3 % 4] if number % 3 == 2 else whole
            time.sleep(0.005)

    return counted(frames())


def resizes() -> Iterator[Frame]:
    """Grows and shrinks every twenty frames."""

    def frames() -> Iterator[Frame]:
        for number in range(100):
            scale = (1, 3, 2, 5, 1)[number // 20]
            yield picture(number, height=HEIGHT * scale, width=WIDTH * scale)
            time.sleep(0.005)

    return counted(frames())


def time_traveller() -> Iterator[Frame]:
    """Its clock runs back by a minute in its first life."""
    first = is_first_life()

    def frames() -> Iterator[Frame]:
        for number in range(1000):
            back = 60.0 if first and number >= 20 else 0.0
            yield picture(number), number / 100 - back
            time.sleep(0.01)

    return counted(frames())


def freezes() -> Iterator[Frame]:
    first = is_first_life()

    def frames() -> Iterator[Frame]:
        for number in range(1000):
            yield picture(10 if first and number > 10 else number), number / 100
            time.sleep(0.01)

    return counted(frames())


def goes_black() -> Iterator[Frame]:
    first = is_first_life()

    def frames() -> Iterator[Frame]:
        for number in range(1000):
            image = picture(number)
            yield (image // 64 if first and number > 10 else image), number / 100
            time.sleep(0.01)

    return counted(frames())


def raises() -> Iterator[Frame]:
    yield picture(0)
    raise RuntimeError("the lens fell off")


def never_opens() -> Iterator[Frame]:
    time.sleep(3600)
    yield picture(0)
