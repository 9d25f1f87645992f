"""Artifacts that the stand-ins build, and what goes into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from samedge import runtimes
from samedge.types import Prompt
from tests.toys import tensorrt as toys

BACKEND = runtimes.get("tensorrt")


def write(folder: Path, spec: toys.Spec) -> Path:
    path = folder / f"{spec['compute']}.onnx"
    path.write_text(json.dumps(spec))
    return path


def feeds(batch: int = 3, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "points": random.normal(size=(batch, 3)).astype(np.float32),
        "image": random.integers(0, 255, (1, 2, 2, 3), np.uint8),
    }


def check(results: dict[str, Any], given: dict[str, Any]) -> None:
    np.testing.assert_allclose(results["doubled"], 2 * given["points"] + 1)
    np.testing.assert_allclose(results["halved"], given["image"] / np.float32(2))


PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
PROMPTS = [Prompt(box=[8, 8, 40, 30]), Prompt(points=[[20, 20], [30, 10]], labels=[1, 0])]
