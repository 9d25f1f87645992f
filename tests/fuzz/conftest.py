from __future__ import annotations

import resource
import sys
from collections.abc import Iterator

import pytest

from samedge.files import limits

MEMORY_BYTES = 1 << 30


@pytest.fixture(autouse=True)
def bounded_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small limits, so that reaching them is likely; and the peak of memory stays low anyway."""
    monkeypatch.setenv(limits.VARIABLE, "image_pixels=1000000,prompt_points=50,prompts=100")
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * unit < MEMORY_BYTES
