"""What fits half precision: the range of every tensor of an ONNX graph over calibration feeds.

fp16 ends at 65,504 and loses digits below 6.1e-5. Squares of normalisations, massive activations of
ViTs (Sun et al. 2024) and epsilons of 1e-6 leave it, and what follows is Inf, NaN or a division by
zero in every mask. The probe finds such tensors; their producers and consumers stay in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from samedge.errors import CalibrationError
from samedge.files.scratch import scratch_folder
from samedge.machine.libraries import library
from samedge.types import Array

FP16_MAX, FP16_SMALLEST_NORMAL = 65504.0, 2.0**-14
HEADROOM = 2.0
"""How much further than on the calibration set a range may reach on the device."""

_SUMS = frozenset({"ReduceMean", "ReduceSum", "AveragePool", "GlobalAveragePool"})
_SQUARES = frozenset({"LayerNormalization", "InstanceNormalization", "GroupNormalization"})
_PROBE = "__largest__"


def largest_magnitudes(path: Path, feeds: Iterable[Mapping[str, Array]]) -> dict[str, float]:
    """Largest absolute value of every float tensor that a node of an ONNX graph gives.

    Only one number a tensor leaves the graph, so that the largest ViT needs little more memory than
    in use.

    Args:
        path: an fp32 ``.onnx`` file.
        feeds: calibration feeds.

    Raises:
        CalibrationError: there are no feeds, or the float graph itself gives NaN or infinity.
    """
    import onnx

    model = onnx.load(path)
    names = float_tensors(model)
    _insert_probes(model, names)
    largest = dict.fromkeys(names, 0.0)
    count = 0
    for values in _probed(model, names, feeds):
        count += 1
        for name, value in zip(names, values, strict=True):
            largest[name] = max(largest[name], float(value))
            if not math.isfinite(float(value)):
                raise CalibrationError(
                    f"Tensor {name!r} of {path.name} is {float(value)} in fp32 already: no "
                    "precision can repair the model. Check its weights."
                )
    if not count:
        raise CalibrationError("The range probe got no feeds: give a calibration set.")
    return largest


def unsafe_tensors(model: Any, largest: Mapping[str, float]) -> dict[str, str]:
    """Tensors that fp16 cannot hold, with the reason.

    Args:
        model: the ``onnx.ModelProto``.
        largest: from :func:`largest_magnitudes`.
    """
    found: dict[str, str] = {}
    for name, value in largest.items():
        if value * HEADROOM > FP16_MAX:
            found[name] = f"reaches {value:.3g}, fp16 ends at {FP16_MAX:.0f}"
        elif 0 < value < FP16_SMALLEST_NORMAL:
            found[name] = f"never exceeds {value:.3g}, fp16 loses digits there"
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    shapes = _shapes(model)
    for node in model.graph.node:
        reason = _inner_reason(node, constants, shapes, largest)
        if reason:
            found.setdefault(node.output[0], reason)
    return found


def _inner_reason(
    node: Any, constants: Mapping[str, Any], shapes: Mapping[str, int], largest: Mapping[str, float]
) -> str | None:
    """What happens inside of a node or to its constants, where its output does not show it."""
    reach = max((largest.get(name, 0.0) for name in node.input), default=0.0)
    if node.op_type in _SQUARES and reach * reach > FP16_MAX:
        return f"squares values up to {reach:.3g}"
    if node.op_type in _SUMS:
        terms = shapes.get(node.input[0], 0) / max(shapes.get(node.output[0], 1), 1)
        if reach * terms > FP16_MAX:
            return f"sums {terms:.0f} values up to {reach:.3g}"
    if node.op_type == "Add":
        for name in node.input:
            smallest = _smallest(constants.get(name))
            if smallest is not None and smallest < FP16_SMALLEST_NORMAL:
                return f"adds {smallest:.3g}, which fp16 loses"
    return None


def _smallest(tensor: Any) -> float | None:
    """The value of a positive scalar constant: an epsilon if it is small."""
    if tensor is None:
        return None
    import onnx

    values = onnx.numpy_helper.to_array(tensor)
    if values.size != 1 or values.dtype != np.float32 or not float(values.ravel()[0]) > 0:
        return None
    return float(values.ravel()[0])


def float_tensors(model: Any) -> list[str]:
    """Names of the fp32 tensors that nodes give, in order."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    infos = (*inferred.graph.value_info, *inferred.graph.output)
    kinds = {info.name: info.type.tensor_type.elem_type for info in infos}
    return [
        name
        for node in model.graph.node
        for name in node.output
        if name and kinds.get(name) == onnx.TensorProto.FLOAT
    ]


def _insert_probes(model: Any, names: Iterable[str]) -> None:
    """Make the largest magnitude of each tensor an output, computed right after the tensor.

    Where the file has it decides how long the tensor lives (see :func:`_probed`).
    """
    import onnx

    wanted = set(names)
    nodes = list(model.graph.node)
    del model.graph.output[:]
    del model.graph.node[:]
    for node in nodes:
        model.graph.node.append(node)
        for name in wanted.intersection(node.output):
            magnitude, probe = f"{name}{_PROBE}abs", f"{name}{_PROBE}"
            model.graph.node.append(onnx.helper.make_node("Abs", [name], [magnitude]))
            model.graph.node.append(
                onnx.helper.make_node("ReduceMax", [magnitude], [probe], keepdims=0)
            )
            info = onnx.helper.make_tensor_value_info(probe, onnx.TensorProto.FLOAT, [])
            model.graph.output.append(info)


def _probed(
    model: Any, names: list[str], feeds: Iterable[Mapping[str, Array]]
) -> Iterable[list[Array]]:
    import onnx

    onnxruntime = library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # In the file's order. The default order may leave all probes for the end, and with them every
    # activation of the graph in memory: 24 GB and more for SAM's ViT-B instead of 6.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    with scratch_folder() as folder:
        file = folder / "probed.onnx"
        large = model.ByteSize() > 2**31 - 2**20
        onnx.save_model(model, file, save_as_external_data=large)
        session = onnxruntime.InferenceSession(
            str(file), sess_options=options, providers=["CPUExecutionProvider"]
        )
        outputs = [f"{name}{_PROBE}" for name in names]
        for feed in feeds:
            yield session.run(outputs, dict(feed))


def _shapes(model: Any) -> dict[str, int]:
    """Element counts, a dynamic axis counted as one."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    infos = (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    return {
        info.name: math.prod(max(axis.dim_value, 1) for axis in info.type.tensor_type.shape.dim)
        for info in infos
    }
