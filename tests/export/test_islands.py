"""What stays in fp32 in a half-precision graph, counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from samedge.export.islands import fp32_islands, island_notes  # noqa: E402

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def save(folder: Path, nodes: list[Any], constants: dict[str, Any]) -> Path:
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [2, 6])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path = folder / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]), path)
    return path


def test_operators_casts_and_multiplications_are_counted(tmp_path: Path) -> None:
    make = onnx.helper.make_node
    nodes = [
        make("MatMul", ["x", "a"], ["wide"]),  # 2 * 6 * 5 in fp32
        make("Cast", ["wide"], ["half"], to=HALF),
        make("MatMul", ["half", "b"], ["product"]),  # 2 * 5 * 18 in fp16
        make("Relu", ["product"], ["relu"]),
        make("Cast", ["relu"], ["y"], to=FLOAT),
    ]
    constants = {"a": np.ones((6, 5), np.float32), "b": np.ones((5, 18), np.float16)}
    path = save(tmp_path, nodes, constants)
    found = fp32_islands(path)
    assert found is not None
    assert (found.kept, found.operators, found.casts) == (1, 3, 2)
    assert found.share == pytest.approx(60 / (60 + 180))
    said = "1 of 3 float operators stay in fp32 with 25.0% of the multiplications, 2 casts"
    assert island_notes(path) == (said,)


def test_a_graph_of_one_precision_has_none(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
    assert fp32_islands(save(tmp_path, nodes, {})) is None
    assert island_notes(tmp_path / "g.onnx") == ()
