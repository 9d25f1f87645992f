"""The tiny graph that tests open with every backend, and its ONNX form, which several open.

``points`` float32 (B, 3) -> ``doubled`` = 2 points + 1, and ``image`` uint8 (1, 2, 2, 3) ->
``halved`` = image / 2 as float32. A backend with a format of its own writes it in
``Backend.write_example``.
"""

from __future__ import annotations

from pathlib import Path


def write_onnx_example(folder: Path) -> Path:
    """Write ``example.onnx``.

    Args:
        folder: an existing folder.

    Raises:
        ImportError: onnx is not installed.
    """
    import onnx

    helper, types = onnx.helper, onnx.TensorProto
    constants = [
        helper.make_tensor(name, types.FLOAT, [], [value])
        for name, value in {"two": 2.0, "one": 1.0, "half": 0.5}.items()
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
    graph = helper.make_graph(nodes, "example", inputs, outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path = folder / "example.onnx"
    onnx.save(model, path)
    return path
