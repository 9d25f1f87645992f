"""Bias correction of a Q/DQ graph: exact means for what rounding shifts.

Rounding weights and activations moves the mean of a product's output, and depthwise convolutions of
few weights most of all (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", 2019, section 4.2). The shift is measured on the calibration set, a channel at a time,
each layer with the inputs of the float graph, and subtracted from the layer's bias.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from samedge.machine.libraries import library
from samedge.types import Array

_SHIFT = "__shift__"


def correct_biases(float_path: Path, path: Path, *, feeds: Iterable[Mapping[str, Array]]) -> int:
    """Subtract from every quantized convolution's bias what quantization adds on average.

    Args:
        float_path: the float graph that ``path`` was quantized from.
        path: the Q/DQ graph, rewritten in place.
        feeds: calibration feeds.

    Returns:
        How many layers were corrected.
    """
    import onnx

    quantized = onnx.load(path)
    layers = _layers(quantized)
    if not layers:
        return 0
    reference = onnx.load(float_path)
    known = {tensor.name for tensor in reference.graph.initializer}
    reference.graph.initializer.extend(
        t for t in quantized.graph.initializer if t.name not in known
    )
    shifts = _shifts(reference, layers, feeds)
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    for (node, _), shift in zip(layers, shifts, strict=True):
        bias = constants[node.input[2]]
        values = onnx.numpy_helper.to_array(bias) + shift
        corrected = onnx.numpy_helper.from_array(values.astype(np.float32), f"{node.name}/bias")
        quantized.graph.initializer.append(corrected)
        node.input[2] = corrected.name
    onnx.save(quantized, path)
    return len(layers)


def _layers(model: Any) -> list[tuple[Any, list[Any]]]:
    """Quantized convolutions with a float bias, each with the Q and DQ nodes before it."""
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type != "Conv" or len(node.input) < 3 or node.input[2] not in constants:
            continue
        activation, weight = (makers.get(name) for name in node.input[:2])
        if activation is None or weight is None:
            continue
        if activation.op_type != "DequantizeLinear" or weight.op_type != "DequantizeLinear":
            continue
        before = [activation, weight]
        rounding = makers.get(activation.input[0])
        if rounding is not None:
            found.append((node, [rounding, *before]))
    return found


def _shifts(
    model: Any, layers: list[tuple[Any, list[Any]]], feeds: Iterable[Mapping[str, Array]]
) -> list[Array]:
    """Mean over feeds and places of each layer's float output less its quantized one."""
    onnxruntime = library("onnxruntime")
    probe = _with_branches(model, layers)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED  # see _with_branches
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    names = [f"{node.name}{_SHIFT}" for node, _ in layers]
    sums: list[Array] | None = None
    count = 0
    for feed in feeds:
        values = session.run(names, dict(feed))
        sums = values if sums is None else [a + b for a, b in zip(sums, values, strict=True)]
        count += 1
    return [] if sums is None else [np.asarray(total / count) for total in sums]


def _with_branches(model: Any, layers: list[tuple[Any, list[Any]]]) -> Any:
    """The float graph with every quantized layer beside its float one, on the same input."""
    import onnx

    graph = model.graph
    del graph.output[:]
    nodes = list(graph.node)
    present = {name for node in nodes for name in node.output}
    branches: dict[str, list[Any]] = {}
    for node, before in layers:
        original = next(n for n in nodes if n.name == node.name)
        needed = [copy.deepcopy(n) for n in before if not present & set(n.output)]
        present.update(name for n in needed for name in n.output)
        branch = copy.deepcopy(node)
        branch.name, branch.output[0] = f"{node.name}{_SHIFT}branch", f"{node.name}{_SHIFT}output"
        difference = f"{node.name}{_SHIFT}difference"
        sub = onnx.helper.make_node("Sub", [original.output[0], branch.output[0]], [difference])
        mean = _channel_mean(model, difference, f"{node.name}{_SHIFT}")
        branches[node.name] = [*needed, branch, sub, mean]
        info = onnx.helper.make_tensor_value_info(
            f"{node.name}{_SHIFT}", onnx.TensorProto.FLOAT, None
        )
        graph.output.append(info)
    del graph.node[:]
    for node in nodes:  # each branch beside its layer, so that no activation waits for the end
        graph.node.append(node)
        graph.node.extend(branches.get(node.name, []))
    return model


def _channel_mean(model: Any, source: str, mean: str) -> Any:
    """A node that averages (N, C, H, W) to (C,); its axes became an input with opset 18."""
    import onnx

    axes = [0, 2, 3]
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < 18:
        return onnx.helper.make_node("ReduceMean", [source], [mean], axes=axes, keepdims=0)
    name = f"{mean}axes"
    model.graph.initializer.append(
        onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [len(axes)], axes)
    )
    return onnx.helper.make_node("ReduceMean", [source, name], [mean], keepdims=0)
