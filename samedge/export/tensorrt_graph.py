"""Exact rewrites of ONNX graphs for TensorRT."""

from __future__ import annotations

from typing import Any

QUANTIZED_PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
"""Operators that gain from int8."""


def cast_bytes_first(model: Any) -> Any:
    """Turn uint8 inputs into float32 before anything else reads them.

    TensorRT takes bytes at the edge of a network and can only cast them; torch writes the layout
    change first and the cast after it. Both orders give the same numbers.

    Args:
        model: an ``onnx.ModelProto``; it is changed in place.

    Returns:
        The same model.
    """
    import onnx

    graph = model.graph
    for tensor in graph.input:
        if tensor.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
            continue
        pixels = f"{tensor.name}_float"
        floats = {pixels}
        for node in graph.node:
            for index, name in enumerate(node.input):
                if name == tensor.name:
                    node.input[index] = pixels
            if node.op_type in ("Transpose", "Reshape") and node.input[0] in floats:
                floats.add(node.output[0])
        _retype(graph, floats)
        name = f"/{tensor.name}/Cast"
        cast = onnx.helper.make_node(
            "Cast", [tensor.name], [pixels], name=name, to=onnx.TensorProto.FLOAT
        )
        graph.node.insert(0, cast)
        _drop_needless_casts(graph, floats)
    return model


def _retype(graph: Any, floats: set[str]) -> None:
    import onnx

    for info in graph.value_info:
        if info.name in floats:
            info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def _drop_needless_casts(graph: Any, floats: set[str]) -> None:
    """Remove casts to float32 of tensors that are float32 now."""
    import onnx

    for node in list(graph.node):
        if node.op_type != "Cast" or node.input[0] not in floats:
            continue
        if node.attribute[0].i == onnx.TensorProto.FLOAT:
            for reader in graph.node:
                for index, name in enumerate(reader.input):
                    if name == node.output[0]:
                        reader.input[index] = node.input[0]
            graph.node.remove(node)


def float_for_others(model: Any) -> Any:
    """Let nothing but products read quantized activations.

    ONNX Runtime's quantizer hands a tensor that it quantizes for one reader to all of its readers,
    and so rounds residual additions too, which costs accuracy and gains no speed.

    Args:
        model: an ``onnx.ModelProto`` with QuantizeLinear and DequantizeLinear; changed in place.

    Returns:
        The same model.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    originals = {}
    for node in graph.node:
        quantize = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if quantize is not None and quantize.op_type == "QuantizeLinear":
            originals[node.output[0]] = quantize.input[0]
    for node in graph.node:
        if node.op_type not in QUANTIZED_PRODUCTS:
            for index, name in enumerate(node.input):
                node.input[index] = originals.get(name, name)
    return model
