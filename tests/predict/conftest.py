"""What the tests of prediction share."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from samedge import runtimes


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)


@pytest.fixture
def copied(toy_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_bundle, tmp_path / "copy"))


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend that opens ONNX."""
    name: str = request.param
    probe = runtimes.get(name).probe()
    if not probe.available:
        pytest.skip(probe.detail)
    return name
