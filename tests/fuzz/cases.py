"""How many cases, and what an answer may be."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from samedge.errors import SamedgeError

FACTOR = int(os.environ.get("SAMEDGE_FUZZ", "0"))
CASE_SECONDS = 10.0  # of processor time


def fuzz(examples: int) -> settings:
    return settings(
        max_examples=examples * max(FACTOR, 1),
        derandomize=not FACTOR,
        database=None,
        deadline=None,  # see only_typed_errors: a loaded machine is no hang
        phases=[Phase.generate] if not FACTOR else list(Phase),
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def only_typed_errors() -> Iterator[None]:
    started = time.process_time()
    with contextlib.suppress(SamedgeError):
        yield
    assert time.process_time() - started < CASE_SECONDS


def written(factory: pytest.TempPathFactory, name: str, data: bytes) -> Path:
    path = factory.getbasetemp() / name
    path.write_bytes(data)
    return path
