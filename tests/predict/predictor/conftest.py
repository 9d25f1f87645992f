"""The predictor on every backend that opens ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from samedge import runtimes
from samedge.predict.predictor import Predictor


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    probe = runtimes.get(name).probe()
    if not probe.available:
        pytest.skip(probe.detail)
    return name


@pytest.fixture
def predictor(toy_bundle: Path, backend: str) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, backend=backend, threads=1) as opened:
        yield opened
