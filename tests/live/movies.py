"""Small videos whose every frame is known, and what reads them."""

from __future__ import annotations

import contextlib
from typing import Any

from samedge.live import sources
from samedge.live.sources.base import Grab, ReadOptions

SIZE = (96, 128)
COUNT, FPS = 24, 30


def colour(index: int) -> tuple[int, int, int]:
    return 40 + 8 * index, 200 - 6 * index, 120


def read(spec: str, **options: Any) -> list[Grab]:
    _, source = sources.find(spec)
    with contextlib.closing(source.grabs(spec, ReadOptions(**options))) as grabs:
        return list(grabs)
