"""A predictor that looks twice, one that does not, and what they encode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge.predict.predictor import Predictor
from tests.predict.focus.scene import SIZE


@pytest.fixture(scope="module")
def backend() -> str:
    probe = runtimes.get("onnxruntime").probe()
    if not probe.available:
        pytest.skip(probe.detail)
    return "onnxruntime"


@pytest.fixture
def encodes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one for each image or part of one that is encoded."""
    seen: list[Any] = []
    real = Predictor._encoded

    def counted(self: Predictor, image: Any, region: Any) -> Any:
        seen.append(region)
        return real(self, image, region)

    monkeypatch.setattr(Predictor, "_encoded", counted)
    return seen


@pytest.fixture
def auto(toy_bundle: Path, backend: str, encodes: list[Any]) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, backend=backend, focus="auto") as opened:
        yield opened


@pytest.fixture
def plain(toy_bundle: Path, backend: str) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, backend=backend) as opened:
        yield opened


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
