"""One tiny graph in every artifact format, for the tests that every backend must pass.

The graph: ``points`` float32 (B, 3) -> ``doubled`` = 2 points + 1, and ``image`` uint8 (1, 2, 2, 3)
-> ``halved`` = image / 2 as float32. A new format adds its writer to ``WRITERS``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samedge import runtimes
from samedge.runtimes.base import Backend


def write_onnx(folder: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    constants = [
        helper.make_tensor("two", types.FLOAT, [], [2.0]),
        helper.make_tensor("one", types.FLOAT, [], [1.0]),
        helper.make_tensor("half", types.FLOAT, [], [0.5]),
    ]
    nodes = [
        helper.make_node("Mul", ["points", "two"], ["product"]),
        helper.make_node("Add", ["product", "one"], ["doubled"]),
        helper.make_node("Cast", ["image"], ["pixels"], to=types.FLOAT),
        helper.make_node("Mul", ["pixels", "half"], ["halved"]),
    ]
    inputs = [
        helper.make_tensor_value_info("points", types.FLOAT, ["B", 3]),
        helper.make_tensor_value_info("image", types.UINT8, [1, 2, 2, 3]),
    ]
    outputs = [
        helper.make_tensor_value_info("doubled", types.FLOAT, ["B", 3]),
        helper.make_tensor_value_info("halved", types.FLOAT, [1, 2, 2, 3]),
    ]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path = folder / "toy.onnx"
    onnx.save(model, path)
    return path


def write_openvino(folder: Path) -> Path:
    openvino = pytest.importorskip("openvino")
    path = folder / "toy.xml"
    source = write_onnx(folder)
    openvino.save_model(openvino.convert_model(source), path, compress_to_fp16=False)
    source.unlink()
    return path


def write_pt2(folder: Path) -> Path:
    torch = pytest.importorskip("torch")

    class Toy(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, points, image):  # type: ignore[no-untyped-def]
            return {"doubled": 2 * points + 1, "halved": image.float() * 0.5}

    example = (torch.zeros(2, 3), torch.zeros(1, 2, 2, 3, dtype=torch.uint8))
    batch = torch.export.Dim("B", min=1, max=64)
    shapes = {"points": {0: batch}, "image": None}
    path = folder / "toy.pt2"
    torch.export.save(torch.export.export(Toy(), example, dynamic_shapes=shapes), path)
    return path


def write_mlpackage(folder: Path) -> Path:
    pytest.importorskip("torch")
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        coremltools = pytest.importorskip("coremltools")
        path = folder / "toy.mlpackage"
        _coreml_toy(coremltools).save(str(path))
    return path


def _coreml_toy(coremltools: Any) -> Any:
    mb = importlib.import_module("coremltools.converters.mil").Builder
    target, batch = coremltools.target.iOS17, coremltools.converters.mil.mil.get_new_symbol()
    specs = [mb.TensorSpec(shape=(batch, 3)), mb.TensorSpec(shape=(1, 3, 2, 2))]

    @mb.program(input_specs=specs, opset_version=target)
    def toy(points: Any, image: Any) -> Any:
        doubled = mb.add(x=mb.mul(x=points, y=2.0), y=1.0, name="doubled")
        pixels = mb.transpose(x=image, perm=[0, 2, 3, 1])
        return doubled, mb.mul(x=pixels, y=0.5, name="halved")

    flexible = coremltools.RangeDim(lower_bound=1, upper_bound=64, default=2)
    return coremltools.convert(
        toy,
        inputs=[
            coremltools.TensorType("points", shape=(flexible, 3)),
            coremltools.ImageType("image", shape=(1, 3, 2, 2), color_layout="RGB"),
        ],
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=coremltools.precision.FLOAT32,
        skip_model_load=True,
    )


def write_null(folder: Path) -> Path:
    points, image = ["B", 3], [1, 2, 2, 3]
    document = {
        "inputs": [
            {"name": "points", "dtype": "float32", "shape": points},
            {"name": "image", "dtype": "uint8", "shape": image},
        ],
        "outputs": [
            {"name": "doubled", "dtype": "float32", "shape": points},
            {"name": "halved", "dtype": "float32", "shape": image},
        ],
    }
    path = folder / "toy.json"
    path.write_text(json.dumps(document))
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "pt2": write_pt2,
    "coreml": write_mlpackage,
    "null": write_null,
}

PAIRS = [(name, kind) for name in runtimes.names() for kind in runtimes.get(name).formats]


@pytest.fixture(params=runtimes.names())
def any_backend(request: pytest.FixtureRequest) -> Backend:
    """Every backend, here or not."""
    return runtimes.get(request.param)


@pytest.fixture(scope="session")
def graph_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder with the tiny graph in a format, written once a session."""

    @functools.cache
    def folder(kind: str) -> Path:
        path = tmp_path_factory.mktemp(kind)
        WRITERS[kind](path)
        return path

    return folder


@pytest.fixture(params=PAIRS, ids=lambda pair: "-".join(pair))
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, graph_folder: Callable[[str], Path]
) -> tuple[Backend, Path]:
    """Every backend that is here, with the tiny graph in each of its formats."""
    name, kind = request.param
    backend = runtimes.get(name)
    probe = backend.probe()
    if not probe.available:
        pytest.skip(probe.detail)
    if kind not in WRITERS:
        pytest.skip(f"no tiny graph in format {kind!r} yet")
    copy = shutil.copytree(graph_folder(kind), tmp_path / "graph")
    return backend, next(path for path in copy.iterdir() if path.suffix != ".bin")
