"""The predictor on every backend that opens ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from samedge.predict.predictor import Predictor


@pytest.fixture
def predictor(toy_bundle: Path, backend: str) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, backend=backend, threads=1) as opened:
        yield opened
