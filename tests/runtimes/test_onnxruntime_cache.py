"""Optimised graphs are checked before ONNX Runtime sees them, and made again if they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import _cache, runtimes
from samedge.bundle.bundle import embedded_path
from samedge.errors import InferenceError
from samedge.runtimes.base import Session
from samedge.runtimes.onnxruntime import optimised

onnxruntime: Any = pytest.importorskip("onnxruntime")

BACKEND = runtimes.get("onnxruntime")
DECODER = embedded_path("samedge-pico") / "decoder.onnx"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def answers(session: Session) -> list[np.ndarray]:
    """Outputs for two prompts of random embeddings."""
    random = np.random.default_rng(0)
    feeds = {}
    for spec in session.inputs:
        shape = [axis if isinstance(axis, int) else 2 for axis in spec.shape]
        feeds[spec.name] = random.random(shape).astype(spec.dtype)
    return list(session.run(feeds).values())


def opened(**options: object) -> list[np.ndarray]:
    with BACKEND.open(DECODER, options={"threads": 1, **options}) as session:
        return answers(session)


def kept(cache: Path) -> Path:
    (found,) = cache.rglob("*.ort")
    return found


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, one, other))


def test_a_kept_graph_computes_the_same_bytes(cache: Path) -> None:
    plain = opened(cache=False)
    assert not list(cache.rglob("*.ort"))
    first = opened()
    written = kept(cache).stat().st_mtime_ns
    second = opened()
    assert kept(cache).stat().st_mtime_ns == written
    assert equal(first, plain)
    assert equal(second, plain)
    assert BACKEND.compiled_files(DECODER, options={"threads": 1}) == (kept(cache),)


def test_it_is_the_kept_graph_that_is_opened(cache: Path) -> None:
    """The control: another graph, sealed under the same name, is what computes then."""
    right = opened()
    other = embedded_path("samedge-pico") / "encoder.onnx"
    with BACKEND.open(other, options={"threads": 1}) as session:
        inputs = session.inputs
    strange, own = sorted(cache.rglob("*.ort"), key=lambda path: path.stat().st_size, reverse=True)
    content = _cache.kept(strange)
    assert content is not None
    assert _cache.keep(own, bytes(content))
    with BACKEND.open(DECODER, options={"threads": 1}) as session:
        assert session.inputs == inputs
    assert len(right) == 2


def test_damage_and_what_is_no_graph_are_made_again(cache: Path) -> None:
    right = opened()
    path = kept(cache)
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + bytes(4096) + whole[12288:])
    assert equal(opened(), right)
    assert _cache.kept(path) is not None
    assert _cache.keep(path, b"no graph")
    assert equal(opened(), right)
    assert bytes(_cache.kept(path) or b"no graph") != b"no graph"


def test_a_changed_file_a_large_one_and_a_full_disk(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "decoder.onnx"
    own.write_bytes(DECODER.read_bytes())
    graph = optimised.OptimisedGraph(own, "all")
    before = graph.file()
    own.write_bytes(DECODER.read_bytes())
    assert graph.file() != before
    assert optimised.OptimisedGraph(own, "extended").file() != graph.file()
    monkeypatch.setattr(optimised, "MOST_BYTES", 1000)
    assert graph.file() is None
    monkeypatch.undo()
    monkeypatch.setenv(_cache.VARIABLE, str(cache))
    monkeypatch.setattr(optimised, "scratch_folder", _full)
    assert len(opened()) == 2
    assert not list(cache.rglob("*.ort"))


def _full() -> None:
    raise OSError("no space")


def test_a_file_that_is_none_is_an_error(cache: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"\x0a\x02no")
    with pytest.raises(InferenceError, match=r"wrong\.onnx"):
        BACKEND.open(wrong)


def test_a_graph_that_leads_to_other_files_is_not_kept(cache: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "apart.onnx"
    onnx.save_model(
        onnx.load(DECODER),
        path,
        save_as_external_data=True,
        location="apart.bin",
        size_threshold=10_000,  # shapes have to stay inside
    )
    with BACKEND.open(path, options={"threads": 1}) as session:
        assert equal(answers(session), opened(cache=False))
    assert not list(cache.rglob("*.ort"))
    assert BACKEND.reads(path) == (path, tmp_path / "apart.bin")
    opened()
    assert BACKEND.reads(DECODER) == (DECODER,)
