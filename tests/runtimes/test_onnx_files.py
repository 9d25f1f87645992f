"""Other files that an ONNX file leads to are found, wherever its format can hide them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.bundle.bundle import Bundle, embedded_path
from samedge.errors import BundleError, InferenceError, SamedgeError
from samedge.predict.predictor import Predictor
from samedge.runtimes.onnx_files import external_files

onnx: Any = pytest.importorskip("onnx")
helper: Any = onnx.helper


def outside(name: str, location: str) -> Any:
    """A tensor whose numbers lie in another file."""
    tensor = onnx.TensorProto(name=name, data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="0")
    return tensor


def saved(path: Path, **parts: Any) -> Path:
    nodes = parts.pop("nodes", [])
    graph = helper.make_graph(nodes, "g", [], [], parts.pop("initializers", []))
    graph.sparse_initializer.extend(parts.pop("sparse", []))
    model = helper.make_model(graph, functions=parts.pop("functions", []))
    model.training_info.extend(parts.pop("training", []))
    assert not parts
    path.write_bytes(model.SerializeToString())
    return path


def branch() -> Any:
    inner = helper.make_graph([], "inner", [], [], [outside("w", "branch")])
    return helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)


def function() -> Any:
    node = helper.make_node("Constant", [], ["y"], value=outside("w", "function"))
    return helper.make_function("d", "f", [], ["y"], [node], [helper.make_opsetid("", 17)])


def training() -> Any:
    info = onnx.TrainingInfoProto()
    info.initialization.initializer.append(outside("w", "training"))
    return info


def sparse() -> Any:
    return onnx.SparseTensorProto(values=outside("w", "sparse"), dims=[4])


PLACES: dict[str, Callable[[], dict[str, Any]]] = {
    "initializer": lambda: {"initializers": [outside("w", "initializer")]},
    "constant": lambda: {
        "nodes": [helper.make_node("Constant", [], ["y"], value=outside("w", "constant"))]
    },
    "list": lambda: {"nodes": [helper.make_node("X", [], ["y"], values=[outside("w", "list")])]},
    "branch": lambda: {"nodes": [branch()]},
    "function": lambda: {"functions": [function()]},
    "sparse": lambda: {"sparse": [sparse()]},
    "training": lambda: {"training": [training()]},
}


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_found(tmp_path: Path, place: str) -> None:
    assert external_files(saved(tmp_path / "m.onnx", **PLACES[place]())) == (place,)


def test_a_graph_of_one_file_names_none(tmp_path: Path) -> None:
    assert external_files(embedded_path() / "encoder.onnx") == ()
    tensor = onnx.numpy_helper.from_array(np.zeros((9, 9), np.float32), "location")
    assert external_files(saved(tmp_path / "m.onnx", initializers=[tensor])) == ()


def test_a_program_for_a_device_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")
    with pytest.raises(InferenceError, match="compiled program"):
        external_files(saved(tmp_path / "m.onnx", nodes=[node]))


def test_damage_ends_in_an_error_or_an_answer(tmp_path: Path) -> None:
    whole = saved(tmp_path / "m.onnx", **PLACES["branch"]()).read_bytes()
    rnd = random.Random(0)
    for _ in range(2000):
        data = bytearray(whole)
        data[rnd.randrange(len(data))] = rnd.randrange(256)
        (tmp_path / "m.onnx").write_bytes(data[: rnd.randrange(1, len(data) + 1)])
        try:
            external_files(tmp_path / "m.onnx")
        except SamedgeError:
            continue


def test_a_bundle_does_not_make_its_backend_open_what_it_does_not_name(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samedge.runtimes import _onnxruntime

    with Predictor.from_bundle(toy_bundle) as predictor:
        predictor.load()
    monkeypatch.setattr(_onnxruntime, "external_files", lambda model: ("../secret",))
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path))  # a graph that is kept names no file
    with (
        Predictor.from_bundle(toy_bundle, verify=False) as predictor,
        pytest.raises(BundleError, match=r"would open .*secret, which its manifest does not name"),
    ):
        predictor.load()


def test_openvino_weights_that_the_manifest_does_not_name(toy_bundle: Path) -> None:
    bundle = Bundle.open(toy_bundle)
    path = bundle.artifact_path("encoder")
    bundle.check_named("encoder", [path])
    with pytest.raises(BundleError, match="does not name"):
        bundle.check_named("encoder", [path, path.with_suffix(".bin")])


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    assert external_files(saved(tmp_path / "m.onnx", initializers=[outside("w", "one")])) == (
        "one",
    )
    assert external_files(saved(tmp_path / "m.onnx", initializers=[outside("w", "other")])) == (
        "other",
    )
