"""What libraries keep of a graph is of the file as it is, and never of what lay there before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import _cache, runtimes
from samedge.runtimes.base import Backend
from samedge.runtimes.onnxruntime.optimised import OptimisedGraph
from samedge.runtimes.openvino.compiled import CompiledGraph

onnx = pytest.importorskip("onnx")

LENGTH = 2000
KEEPING = ("onnxruntime", "openvino")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=KEEPING)
def backend(request: pytest.FixtureRequest) -> Backend:
    found = runtimes.get(request.param)
    if not found.probe().available:
        pytest.skip(found.probe().detail)
    return found


def adding(value: float) -> Any:
    """A graph that adds one number to each of its input's."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.full(LENGTH, value, np.float32), "added")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "added"], ["s"]), helper.make_node("Relu", ["s"], ["y"])],
        "adding",
        [helper.make_tensor_value_info("x", kind, [LENGTH])],
        [helper.make_tensor_value_info("y", kind, [LENGTH])],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answer(backend: Backend, path: Path) -> float:
    with backend.open(path, options={"threads": 1}) as session:
        return float(session.run({"x": np.zeros(LENGTH, np.float32)})["y"][0])


def in_place(path: Path, content: bytes) -> None:
    """Other bytes in the same file, of the same length and with the time that it had."""
    state = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size


def test_other_bytes_with_the_same_time_are_another_graph(backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(adding(1.0), path)
    assert [answer(backend, path) for _ in range(2)] == [1.0, 1.0]
    in_place(path, adding(5.0).SerializeToString())
    assert [answer(backend, path) for _ in range(2)] == [5.0, 5.0]


def test_weights_in_a_file_of_their_own_count(backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save_model(
        adding(1.0), path, save_as_external_data=True, location="graph.data", size_threshold=0
    )
    assert answer(backend, path) == 1.0
    np.full(LENGTH, 7, np.float32).tofile(tmp_path / "graph.data")
    assert answer(backend, path) == 7.0


@pytest.mark.parametrize(
    ("name", "owner", "method"),
    [("onnxruntime", OptimisedGraph, "_exported"), ("openvino", CompiledGraph, "_compile")],
)
def test_a_file_that_changes_while_it_is_opened_is_not_kept(
    name: str, owner: type, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = runtimes.get(name)
    if not backend.probe().available:
        pytest.skip(backend.probe().detail)
    path = tmp_path / "graph.onnx"
    onnx.save(adding(1.0), path)
    real: Callable[..., Any] = getattr(owner, method)

    def late(self: Any, *arguments: Any) -> Any:
        in_place(path, adding(5.0).SerializeToString())
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, late)
        answer(backend, path)
    assert list((tmp_path / "cache").rglob("*.*")) == []


def test_openvino_names_the_weights_of_onnx_by_any_name(tmp_path: Path) -> None:
    """It goes by what a file holds: one that is called .xml could bring weights without a hash."""
    backend = runtimes.get("openvino")
    if not backend.probe().available:
        pytest.skip(backend.probe().detail)
    path = tmp_path / "graph.onnx"
    onnx.save_model(
        adding(3.0), path, save_as_external_data=True, location="graph.data", size_threshold=0
    )
    disguised = path.rename(tmp_path / "graph.xml")
    assert answer(backend, disguised) == 3.0
    assert backend.reads(disguised) == (disguised, tmp_path / "graph.data")
    plain = backend.write_example(tmp_path, "openvino")
    assert backend.reads(plain) == (plain, plain.with_suffix(".bin"))
