"""What is particular to OpenVINO: its hints, precisions and cache of compiled graphs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge._cache import cache_folder
from samedge.errors import InferenceError, UnknownNameError

openvino: Any = pytest.importorskip("openvino")

BACKEND = runtimes.get("openvino")


def write_matmul(path: Path, weights: np.ndarray) -> None:
    ops = openvino.opset13
    x = ops.parameter([1, len(weights)], np.float32, name="x")
    x.output(0).set_names({"x"})
    y = ops.matmul(x, ops.constant(weights.astype(np.float32)), False, False)
    y.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([y], [x], "matmul"), path, compress_to_fp16=False)


@pytest.fixture
def graph(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    write_matmul(tmp_path / "matmul.xml", rng.normal(size=(64, 64)))
    return tmp_path / "matmul.xml"


def compiled_properties(monkeypatch: pytest.MonkeyPatch, graph: Path, **options: Any) -> Any:
    """What reaches ``compile_model``."""
    from samedge.runtimes.openvino import compiled

    seen: list[dict[str, Any]] = []
    core = compiled.core()

    class Watched:
        def compile_model(self, path: str, device: str, properties: dict[str, Any]) -> Any:
            seen.append(properties)
            return core.compile_model(path, device, properties)

        def get_property(self, device: str, name: str) -> Any:
            return core.get_property(device, name)

    monkeypatch.setattr(compiled, "core", Watched)
    BACKEND.open(graph, options=options).close()
    return seen[0]


@pytest.mark.parametrize("form", ["onnx", "xml"])
def test_tensors_keep_their_names_beside_what_is_folded_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """OpenVINO drops a cast to int64 and gives the input its name too, which came first: a bundle
    with a text encoder could not be run. Outputs behind an identity fare likewise.
    """
    onnx: Any = pytest.importorskip("onnx")
    make, kinds = onnx.helper.make_node, onnx.TensorProto
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    graph = onnx.helper.make_graph(
        [
            make("Cast", ["tokens"], ["/cast"], to=kinds.INT64),
            make("Gather", ["rows", "/cast"], ["/rows"]),
            make("Identity", ["/rows"], ["taken"]),
            make("Identity", ["image"], ["/image"]),
            make("Relu", ["/image"], ["/relu"]),
            make("Cast", ["/relu"], ["positive"], to=kinds.FLOAT),
        ],
        "edges",
        [
            onnx.helper.make_tensor_value_info("tokens", kinds.INT32, (2,)),
            onnx.helper.make_tensor_value_info("image", kinds.FLOAT, (None, 3)),
        ],
        [
            onnx.helper.make_tensor_value_info("taken", kinds.FLOAT, (2, 3)),
            onnx.helper.make_tensor_value_info("positive", kinds.FLOAT, (None, 3)),
        ],
        [onnx.numpy_helper.from_array(rows, "rows")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    path = tmp_path / "edges.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    if form == "xml":
        openvino.save_model(openvino.convert_model(path), path.with_suffix(".xml"))
        path = path.with_suffix(".xml")
    feeds = {"tokens": np.array([3, 1], np.int32), "image": -np.ones((2, 3), np.float32)}
    for shapes in ((), ({"image": (2, 3)},), ()):  # at last from the cache
        with BACKEND.open(path, shapes=shapes) as session:
            assert {spec.name for spec in session.inputs} == set(feeds)
            found = session.run(feeds)
        assert found.keys() == {"taken", "positive"}
        assert np.array_equal(found["taken"], rows[[3, 1]])
        assert not found["positive"].any()


def test_latency_hint_and_precision_are_given(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    properties = compiled_properties(monkeypatch, graph, threads=1, inference_precision="bf16")
    assert properties["PERFORMANCE_HINT"] == "LATENCY"
    assert properties["INFERENCE_PRECISION_HINT"] == "bf16"
    assert properties["INFERENCE_NUM_THREADS"] == 1
    assert "CACHE_DIR" not in properties  # the library would trust whatever lies there


def test_cache_can_be_left_out(graph: Path) -> None:
    BACKEND.open(graph, options={"cache": False}).close()
    assert not cache_folder("openvino").exists()


def test_default_is_exact(graph: Path) -> None:
    x = np.random.default_rng(1).normal(size=(1, 64)).astype(np.float32)
    with (
        BACKEND.open(graph) as exact,
        BACKEND.open(graph, options={"inference_precision": "bf16"}) as rough,
    ):
        assert exact.inference_precision == "f32"  # type: ignore[attr-defined]
        difference = np.abs(exact.run({"x": x})["y"] - rough.run({"x": x})["y"]).max()
        if rough.inference_precision == "f32":  # type: ignore[attr-defined]
            assert difference == 0  # this processor has no bf16, and says so
        else:
            assert 0 < difference < 1


def test_unknown_precision(graph: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"inference_precision.*'bf16'"):
        BACKEND.open(graph, options={"inference_precision": "bf15"})


def test_compiled_graph_is_kept(graph: Path) -> None:
    BACKEND.open(graph).close()
    blobs = list(cache_folder("openvino").rglob("*.blob"))
    assert len(blobs) == 1
    written = blobs[0].stat().st_mtime_ns
    BACKEND.open(graph).close()
    assert [p.stat().st_mtime_ns for p in cache_folder("openvino").rglob("*.blob")] == [written]


def test_new_weights_under_the_old_name_and_date(graph: Path) -> None:
    """OpenVINO's own key overlooks them."""
    date = graph.stat().st_mtime_ns
    x = np.ones((1, 64), np.float32)
    with BACKEND.open(graph) as session:
        old = session.run({"x": x})["y"]
    weights = np.random.default_rng(7).normal(size=(64, 64)).astype(np.float32)
    write_matmul(graph, weights)
    os.utime(graph, ns=(date, date))
    with BACKEND.open(graph) as session:
        new = session.run({"x": x})["y"]
    assert not np.allclose(new, old)
    np.testing.assert_allclose(new, x @ weights, rtol=1e-4, atol=1e-4)


class TestUsualShapes:
    """Graphs with dynamic axes get one of their own for each set of usual shapes."""

    USUAL = ({"x": (1, 3), "y": (1,)}, {"x": (4, 3), "y": (4,)})

    @pytest.fixture
    def graph(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """``z = (x + weight) * y``, with a dynamic batch."""
        monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
        ops = openvino.opset13
        x = ops.parameter([-1, 3], np.float32, name="x")
        y = ops.parameter([-1], np.float32, name="y")
        sum_ = ops.add(x, ops.constant(np.arange(3, dtype=np.float32)))
        z = ops.multiply(sum_, ops.unsqueeze(y, ops.constant(1)))
        for node, name in ((x, "x"), (y, "y"), (z, "z")):
            node.output(0).set_names({name})
        path = tmp_path / "dynamic.xml"
        openvino.save_model(openvino.Model([z], [x, y], "dynamic"), path)
        return path

    @pytest.fixture
    def compiled_shapes(self, monkeypatch: pytest.MonkeyPatch) -> list[list[int | None]]:
        """The batch of each graph that is compiled from here on, ``None`` for a dynamic one."""
        from samedge.runtimes.openvino.compiled import CompiledGraph

        seen: list[Any] = []
        original = CompiledGraph.compiled

        def watched(graph: Any, shapes: Any) -> Any:
            compiled = original(graph, shapes)
            axis = compiled.input("x").get_partial_shape()[0]
            seen.append(axis.get_length() if axis.is_static else None)
            return compiled

        monkeypatch.setattr(CompiledGraph, "compiled", watched)
        return seen

    def check(self, session: Any, batch: int) -> None:
        x = np.full((batch, 3), 2, np.float32)
        y = np.arange(1, batch + 1, dtype=np.float32)
        expected = (x + np.arange(3)) * y[:, None]
        np.testing.assert_allclose(session.run({"x": x, "y": y})["z"], expected)

    @pytest.mark.parametrize("cache", [True, False])
    def test_each_is_compiled_once_and_one_graph_serves_the_rest(
        self, graph: Path, compiled_shapes: list[Any], *, cache: bool
    ) -> None:
        with BACKEND.open(graph, options={"cache": cache}, shapes=self.USUAL) as session:
            assert compiled_shapes == [1]
            for batch in (1, 2, 4, 3, 1, 4, 2):
                self.check(session, batch)
            assert compiled_shapes == [1, None, 4]
        with pytest.raises(InferenceError, match="closed"):
            self.check(session, 1)

    def test_the_session_still_takes_every_shape(self, graph: Path) -> None:
        with (
            BACKEND.open(graph) as plain,
            BACKEND.open(graph, shapes=self.USUAL) as session,
        ):
            assert session.inputs == plain.inputs
            assert session.outputs == plain.outputs

    def test_a_second_start_finds_them(self, graph: Path) -> None:
        with BACKEND.open(graph, shapes=self.USUAL) as session:
            self.check(session, 4)
        files = {p: p.stat().st_mtime_ns for p in cache_folder("openvino").rglob("*.*")}
        assert len([p for p in files if p.suffix == ".blob"]) == len(self.USUAL)
        with BACKEND.open(graph, shapes=self.USUAL) as session:
            self.check(session, 4)
        assert {p: p.stat().st_mtime_ns for p in cache_folder("openvino").rglob("*.*")} == files

    def test_other_inputs_leave_the_graph_dynamic(
        self, graph: Path, compiled_shapes: list[Any]
    ) -> None:
        with BACKEND.open(graph, shapes=({"x": (1, 3)},)) as session:
            self.check(session, 1)
        assert compiled_shapes == [None]


def test_no_openvino_file(tmp_path: Path) -> None:
    (tmp_path / "graph.xml").write_text("<net/>")
    for shapes in ((), TestUsualShapes.USUAL):
        with pytest.raises(InferenceError, match="cannot open"):
            BACKEND.open(tmp_path / "graph.xml", shapes=shapes)


def test_memory_may_go_back_after_each_run(graph: Path) -> None:
    x = np.random.default_rng(2).normal(size=(1, 64)).astype(np.float32)
    with (
        BACKEND.open(graph) as kept,
        BACKEND.open(graph, options={"release_memory": True}) as released,
    ):
        for _ in range(3):
            assert np.array_equal(released.run({"x": x})["y"], kept.run({"x": x})["y"])
