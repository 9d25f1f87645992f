"""Every rule finds the graph that breaks it, and names node and module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from samedge.errors import ExportError
from samedge.export.tensorrt_graph import cast_bytes_first, float_for_others
from samedge.export.tensorrt_rules import RULES, check, violations

FLOAT = TensorProto.FLOAT
NAME = "/neck/paths.0/paths.0.1/{}"


def graph(nodes: list[Any], constants: dict[str, Any] | None = None, **inputs: Any) -> Any:
    """A model with input ``x`` (1, 4, 8, 8) float32, output ``y``, and what else is given."""
    edges = {"x": (FLOAT, [1, 4, 8, 8]), **inputs}
    infos = [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in edges.items()]
    tensors = [numpy_helper.from_array(v, n) for n, v in (constants or {}).items()]
    output = helper.make_tensor_value_info("y", FLOAT, None)
    return helper.make_model(
        helper.make_graph(nodes, "test", infos, [output], initializer=tensors),
        opset_imports=[helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)],
    )


def node(operator: str, inputs: list[str], output: str = "y", **attributes: Any) -> Any:
    name = attributes.pop("name", NAME.format(operator))
    return helper.make_node(operator, inputs, [output], name=name, **attributes)


def pair(source: str, output: str, *, zero: str = "zero") -> list[Any]:
    inner = f"{output}_q"
    return [
        node("QuantizeLinear", [source, "scale", zero], inner, name=f"/q/{output}/Q"),
        node("DequantizeLinear", [inner, "scale", zero], output, name=f"/q/{output}/DQ"),
    ]


SCALES = {"scale": np.float32(0.1), "zero": np.int8(0)}


def convolution(
    weight: Any, scale: Any, zero: Any, *, bias: list[Any] | None = None, names: Any = ()
) -> Any:
    constants = {**SCALES, "w": weight, "w_scale": scale, "w_zero": zero, **dict(names)}
    nodes = [
        *pair("x", "x_dq"),
        node("DequantizeLinear", ["w", "w_scale", "w_zero"], "w_dq", axis=0, name="/q/w/DQ"),
        *(bias or []),
        node("Conv", ["x_dq", "w_dq", *(["b_dq"] if bias else [])]),
    ]
    return graph(nodes, constants)


WEIGHT = np.ones((4, 4, 1, 1), np.int8)
PER_CHANNEL, ZEROS = np.full(4, 0.1, np.float32), np.zeros(4, np.int8)


def sound() -> Any:
    """A quantized convolution with a residual, as it should be."""
    model = convolution(WEIGHT, PER_CHANNEL, ZEROS)
    model.graph.node[-1].output[0] = "c"
    model.graph.node.append(node("Add", ["c", "x"]))
    return model


def int32_bias() -> Any:
    bias = [node("DequantizeLinear", ["b", "scale"], "b_dq", name="/q/b/DQ")]
    constants = {"b": np.zeros(4, np.int32)}
    return convolution(WEIGHT, PER_CHANNEL, ZEROS, bias=bias, names=constants)


def unsigned() -> Any:
    return graph(pair("x", "y"), {"scale": np.float32(0.1), "zero": np.uint8(128)})


def many_axes() -> Any:
    model = graph([node("Relu", ["x"])])
    model.graph.value_info.append(helper.make_tensor_value_info("r", FLOAT, [1] * 9))
    return model


def read_by_a_stranger() -> Any:
    nodes = [*pair("x", "a"), node("Cast", ["a_q"], to=FLOAT)]
    return graph(nodes, SCALES)


BROKEN: dict[str, tuple[str, Callable[[], Any]]] = {
    "custom operator": (
        "standard-operators",
        lambda: graph([node("FusedConv", ["x"], domain="com.microsoft")]),
    ),
    "NonZero": ("static-control", lambda: graph([node("NonZero", ["x"])])),
    "shape input": (
        "no-shape-inputs",
        lambda: graph([node("Reshape", ["x", "s"])], s=(TensorProto.INT64, [2])),
    ),
    "axis of any size": (
        "profiled-axes",
        lambda: graph([node("Relu", ["x"])], z=(FLOAT, [1, "width"])),
    ),
    "axis without a name": (
        "profiled-axes",
        lambda: graph([node("Relu", ["x"])], z=(FLOAT, [1, None])),
    ),
    "half and float": (
        "one-type",
        lambda: graph([node("Add", ["x", "h"])], {"h": np.ones(1, np.float16)}),
    ),
    "half weight": (
        "one-type",
        lambda: graph([node("MatMul", ["x", "h"])], {"h": np.ones((8, 8), np.float16)}),
    ),
    "bytes computed on": (
        "bytes-are-cast",
        lambda: graph([node("Relu", ["i"])], i=(TensorProto.UINT8, [1, 4])),
    ),
    "nine axes": ("rank", many_axes),
    "cast to double": ("no-double", lambda: graph([node("Cast", ["x"], to=TensorProto.DOUBLE)])),
    "double constant": (
        "no-double",
        lambda: graph([node("Add", ["x", "c"])], {"c": np.zeros(1, np.float64)}),
    ),
    "one tensor as q, k, v": (
        "distinct-attention",
        lambda: graph([node("Attention", ["x", "x", "x"])]),
    ),
    "unsigned": ("zero-points", unsigned),
    "zero point of 3": (
        "zero-points",
        lambda: graph(pair("x", "y"), {"scale": np.float32(0.1), "zero": np.int8(3)}),
    ),
    "no zero point": (
        "zero-points",
        lambda: graph(
            [
                node("QuantizeLinear", ["x", "scale"], "q"),
                node("DequantizeLinear", ["q", "scale"]),
            ],
            SCALES,
        ),
    ),
    "computed zero point": (
        "zero-points",
        lambda: graph([node("Neg", ["zero"], "z"), *pair("x", "y", zero="z")], SCALES),
    ),
    "int32 bias": ("int8-storage", int32_bias),
    "uint8 weight": (
        "int8-storage",
        lambda: convolution(WEIGHT.astype(np.uint8), PER_CHANNEL, ZEROS),
    ),
    "one scale for a weight": (
        "channel-scales",
        lambda: convolution(WEIGHT, np.float32(0.1), np.int8(0)),
    ),
    "stranger": ("pairs", read_by_a_stranger),
    "quantized residual": (
        "float-residuals",
        lambda: graph([*pair("x", "a"), *pair("x", "b"), node("Add", ["a", "b"])], SCALES),
    ),
}


def test_a_sound_graph_breaks_no_rule() -> None:
    assert violations(sound()) == []
    check(sound(), role="encoder")


@pytest.mark.parametrize("case", BROKEN)
def test_the_broken_rule_is_found_and_no_other(case: str) -> None:
    rule, build = BROKEN[case]
    found = violations(build())
    assert {violation.rule for violation in found} == {rule}
    assert all(violation.node and violation.detail for violation in found)


def test_every_rule_has_a_case() -> None:
    assert {rule for rule, _ in BROKEN.values()} == set(RULES)


def test_the_error_names_rule_node_and_module() -> None:
    model = graph([node("NonZero", ["x"])])
    with pytest.raises(
        ExportError,
        match=r"The decoder breaks 1 rules.*\[static-control\] NonZero '/neck/paths\.0/"
        r"paths\.0\.1/NonZero' in module 'neck\.paths\.0\.1': makes shapes",
    ):
        check(model, role="decoder")


def test_many_violations_are_counted() -> None:
    nodes = [node("NonZero", ["x"], f"n{index}") for index in range(7)]
    with pytest.raises(ExportError, match=r"breaks 7 rules.*and 2 more\."):
        check(graph(nodes), role="encoder")


def test_residuals_read_what_was_there_before_quantization() -> None:
    nodes = [*pair("x", "a"), node("Relu", ["a"], "r"), *pair("r", "b"), node("Add", ["a", "b"])]
    model = graph(nodes, SCALES)
    assert [v.rule for v in violations(model)] == ["float-residuals"]
    float_for_others(model)
    by_type = {n.op_type: list(n.input) for n in model.graph.node}
    assert by_type["Relu"] == ["x"]
    assert by_type["Add"] == ["x", "r"]


def test_products_go_on_reading_quantized_activations() -> None:
    model = float_for_others(sound())
    products = [n for n in model.graph.node if n.op_type == "Conv"]
    assert [list(n.input) for n in products] == [["x_dq", "w_dq"]]


def test_bytes_are_cast_first_and_the_numbers_stay() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    nodes = [
        node("Transpose", ["i"], "t", perm=[0, 2, 1]),
        node("Cast", ["t"], "f", to=FLOAT),
        node("Div", ["f", "c"]),
    ]
    edges = {"i": (TensorProto.UINT8, [1, 2, 3])}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "bytes",
            [helper.make_tensor_value_info(n, k, s) for n, (k, s) in edges.items()],
            [helper.make_tensor_value_info("y", FLOAT, [1, 3, 2])],
            initializer=[numpy_helper.from_array(np.float32(3), "c")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    feeds = {"i": np.arange(6, dtype=np.uint8).reshape(1, 2, 3) * 50}

    def run() -> Any:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        return session.run(None, feeds)[0]

    before = run()
    assert [v.rule for v in violations(model)] == ["bytes-are-cast"]
    cast_bytes_first(model)
    onnx.checker.check_model(model, full_check=True)
    assert violations(model) == []
    assert [n.op_type for n in model.graph.node] == ["Cast", "Transpose", "Div"]
    assert np.array_equal(run(), before)
