"""Compiled graphs are checked before OpenVINO sees them, and made again when they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import _cache, runtimes
from samedge.bundle.bundle import embedded_path

openvino: Any = pytest.importorskip("openvino")
pytest.importorskip("onnx")

BACKEND = runtimes.get("openvino")
ENCODER = embedded_path() / "encoder.onnx"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def embedding(seed: int = 0) -> np.ndarray:
    with BACKEND.open(ENCODER, options={"threads": 1}) as session:
        shape = [int(axis) for axis in session.inputs[0].shape]
        image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        return session.run({"image": image})["image_embeddings"]


def blob(cache: Path) -> Path:
    (found,) = cache.rglob("*.blob")
    return found


def test_a_kept_graph_computes_the_same_bytes(cache: Path) -> None:
    first = embedding()
    written = blob(cache).stat().st_mtime_ns
    assert np.array_equal(embedding(), first)
    assert blob(cache).stat().st_mtime_ns == written


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_zeroed_page_is_found_and_the_graph_made_again(cache: Path, share: float) -> None:
    right = embedding()
    path = blob(cache)
    whole = path.read_bytes()
    place = int(len(whole) * share) // 4096 * 4096
    path.write_bytes(whole[:place] + bytes(4096) + whole[place + 4096 :])
    assert np.array_equal(embedding(), right)
    assert _cache.kept(path) is not None


def test_the_library_itself_would_not_find_it(cache: Path) -> None:
    """Positive control: without the seal, the damaged graph opens and computes something else."""
    right = embedding()
    path = blob(cache)
    content = _cache.kept(path)
    assert content is not None
    damaged = bytearray(content)
    weights = slice(len(damaged) // 2, len(damaged) // 2 + 65536)
    damaged[weights] = bytes(65536)
    assert _cache.keep(path, damaged)  # with a seal of its own
    assert not np.array_equal(embedding(), right)


def test_what_the_library_refuses_is_made_again(cache: Path) -> None:
    right = embedding()
    path = blob(cache)
    assert _cache.keep(path, b"of another version")
    assert np.array_equal(embedding(), right)
    assert path.stat().st_size > 1_000_000


def test_what_a_cache_holds_is_known_where_it_cannot_be_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = BACKEND.write_example(tmp_path, "openvino")
    BACKEND.open(graph).close()
    (kept,) = BACKEND.compiled_files(graph)
    monkeypatch.setattr("samedge._cache.os.access", lambda path, mode: False)
    assert BACKEND.compiled_files(graph) == (kept,)
