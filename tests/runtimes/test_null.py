"""The backend without a library: shapes, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge.errors import InferenceError

BACKEND = runtimes.get("null")


def write(path: Path, outputs: list[dict[str, Any]]) -> Path:
    inputs = [{"name": "x", "dtype": "float32", "shape": ["B", "N", 2]}]
    path.write_text(json.dumps({"inputs": inputs, "outputs": outputs}))
    return path


def test_dynamic_axes_follow_the_feeds(tmp_path: Path) -> None:
    outputs = [
        {"name": "y", "dtype": "float32", "shape": ["B", 4]},
        {"name": "z", "dtype": "uint8", "shape": ["N", "B", 1]},
    ]
    with BACKEND.open(write(tmp_path / "g.json", outputs)) as session:
        results = session.run({"x": np.ones((3, 5, 2), np.float32)})
    assert results["y"].shape == (3, 4)
    assert results["z"].shape == (5, 3, 1)
    assert results["z"].dtype == np.uint8
    assert not results["y"].any()


def test_axis_that_no_input_has(tmp_path: Path) -> None:
    outputs = [{"name": "y", "dtype": "float32", "shape": ["K"]}]
    with pytest.raises(InferenceError, match=r"dynamic axes \['K'\] that no input has"):
        BACKEND.open(write(tmp_path / "g.json", outputs))


def test_document_with_unknown_fields(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text('{"inputs": [], "outputs": [], "weights": []}')
    with pytest.raises(InferenceError, match="weights"):
        BACKEND.open(tmp_path / "g.json")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("bfc_arena.cc: Failed to allocate memory for buffer of size 3"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("Non-zero status code"), False),
    ],
)
def test_a_lack_of_memory_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: bool
) -> None:
    def fail(*_: Any) -> None:
        raise error

    outputs = [{"name": "y", "dtype": "float32", "shape": ["B", 4]}]
    with BACKEND.open(write(tmp_path / "g.json", outputs)) as session:
        monkeypatch.setattr(type(session), "_run", fail)
        with pytest.raises(InferenceError) as raised:
            session.run({"x": np.ones((3, 5, 2), np.float32)})
    message = str(raised.value)
    assert message.startswith("There is not enough memory") == said
    assert ("smaller model or input size." in message) == said
