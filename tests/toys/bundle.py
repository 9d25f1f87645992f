"""A bundle whose graphs have the contract's names and shapes, and geometry that tests can predict.

The encoder normalises, averages 16 x 16 blocks and spreads the three colours over 256 channels.
The decoder paints: each foreground point is a cone whose radius grows with the token, background
points cut cones out, a box is a rectangle, a mask prompt is added as it is. Labels below zero do
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from samedge._version import __version__
from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import record_canary
from samedge.bundle.manifest import SCHEMA, Manifest, ModelRecord, Shape, TensorRecord
from samedge.bundle.thresholds import Thresholds
from samedge.bundle.writer import BundleWriter
from samedge.pixels.frames import Frame
from samedge.predict.graphs import Graphs
from samedge.runtimes.base import Backend
from samedge.types import DRAWN_KINDS

SIDE = 64
FRAME = Frame(target_length=SIDE)
IOU_PREDICTIONS = (0.1, 0.5, 0.9, 0.3)
RADII = (1.5, 2.0, 2.5, 3.0)  # low-res pixels

Axis = int | str


def _floats(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, np.float32), name)


def _integers(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, np.int64), name)


def _value(name: str, shape: tuple[Axis, ...], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


class _Graph:
    """Collects nodes; every call returns the name of its result."""

    def __init__(self, constants: list[onnx.TensorProto]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = constants

    def __call__(
        self, kind: str, *inputs: str, output: str | None = None, **attributes: Any
    ) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def model(self, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
        return _assembled(self.nodes, inputs, outputs, self.constants)


def encoder_model(side: int = SIDE, *, constant: bool = False) -> onnx.ModelProto:
    spread = np.random.default_rng(1).normal(size=(256, 3, 1, 1)) * (0.0 if constant else 1.0)
    bias = np.random.default_rng(2).normal(size=256)
    g = _Graph(
        [
            _floats("mean", [123.675, 116.28, 103.53]),
            _floats("std", [58.395, 57.12, 57.375]),
            _floats("spread", spread),
            _floats("bias", bias),
        ]
    )
    pixels = g("Cast", "image", to=TensorProto.FLOAT)
    normalised = g("Div", g("Sub", pixels, "mean"), "std")
    planes = g("Transpose", normalised, perm=[0, 3, 1, 2])
    blocks = g("AveragePool", planes, kernel_shape=[16, 16], strides=[16, 16])
    g("Conv", blocks, "spread", "bias", output="image_embeddings")
    grid = side // 16
    return g.model(
        [_value("image", (1, side, side, 3), TensorProto.UINT8)],
        [_value("image_embeddings", (1, 256, grid, grid))],
    )


def _decoder_constants(side: int) -> list[onnx.TensorProto]:
    low = side // 4
    rows, columns = np.mgrid[:low, :low].astype(np.float32)
    return [
        _floats("grid_x", columns.reshape(1, 1, low, low)),
        _floats("grid_y", rows.reshape(1, 1, low, low)),
        _floats("radii", np.reshape(RADII, (1, 4, 1, 1))),
        _floats("quarter", 0.25),
        _floats("half", 0.5),
        _floats("one", 1.0),
        _floats("two", 2.0),
        _floats("three", 3.0),
        _floats("zero", 0.0),
        _floats("far", 100.0),
        _floats("base", np.reshape([1.0, 1.0, 1.0, 1.0], (1, 4, 1, 1))),
        _floats("tiny", 0.001),
        _floats("iou", [IOU_PREDICTIONS]),
        _integers("x_index", [0]),
        _integers("y_index", [1]),
        _integers("after", [2, 3]),
        _integers("points_axis", [1]),
        _integers("channel_axes", [1, 2, 3]),
        _integers("last", [1]),
        _integers("last_axis", [3]),
        _floats("minus", -1.0),
    ]


def decoder_model(side: int = SIDE, batch: Axis = "B", length: Axis = "N") -> onnx.ModelProto:
    low = side // 4
    g = _Graph(_decoder_constants(side))

    def axis(name: str) -> str:  # (B, N, 1, 1), low-res pixels
        column = g("Gather", "point_coords", name, axis=2)
        shifted = g("Sub", g("Mul", g("Add", column, "half"), "quarter"), "half")
        return g("Unsqueeze", shifted, "last_axis")

    x, y = axis("x_index"), axis("y_index")
    labels = g("Unsqueeze", "point_labels", "after")

    def is_label(value: str) -> str:  # (B, N, 1, 1), 1 or 0
        return g("Cast", g("Equal", labels, value), to=TensorProto.FLOAT)

    dx, dy = g("Sub", "grid_x", x), g("Sub", "grid_y", y)
    distance = g("Sqrt", g("Add", g("Mul", dx, dx), g("Mul", dy, dy)))

    def nearest(value: str) -> str:  # (B, 1, s, s): distance to the nearest point of a label
        absent = g("Mul", g("Sub", "one", is_label(value)), "far")
        return g("ReduceMin", g("Add", distance, absent), axes=[1], keepdims=1)

    cones = g("Sub", "radii", nearest("one"))
    holes = g("Max", g("Sub", "radii", nearest("zero")), "zero")

    def beyond(value: str, sign: str) -> str:  # (B, 1, s, s): how far inside a box corner
        offset = g("Min", g("Mul", dx, sign), g("Mul", dy, sign))
        other = g("Sub", "one", is_label(value))
        return g("ReduceMax", g("Sub", offset, g("Mul", other, "far")), axes=[1], keepdims=1)

    inside = g("Min", beyond("two", "one"), beyond("three", "minus"))
    boxes = g("Mul", inside, "base")
    painted = g("Sub", g("Max", cones, boxes), holes)
    flag = g("Unsqueeze", g("Unsqueeze", "has_mask_input", "last"), "after")
    masked = g("Mul", "mask_input", flag)
    colour = g("ReduceMean", "image_embeddings", axes=[1, 2, 3], keepdims=1)
    limited = g("Max", painted, g("Mul", "minus", "far"))
    g("Add", g("Add", limited, masked), g("Mul", colour, "tiny"), output="low_res_masks")
    ones = g("Mul", g("Unsqueeze", "has_mask_input", "last"), "zero")
    g("Add", ones, "iou", output="iou_predictions")
    grid = side // 16
    return g.model(
        [
            _value("image_embeddings", (1, 256, grid, grid)),
            _value("point_coords", (batch, length, 2)),
            _value("point_labels", (batch, length)),
            _value("mask_input", (batch, 1, low, low)),
            _value("has_mask_input", (batch,)),
        ],
        [_value("low_res_masks", (batch, 4, low, low)), _value("iou_predictions", (batch, 4))],
    )


MAPS = {"high_res_features_4": 4, "high_res_features_8": 8}
"""Further tensors of an encoder, and the input pixels to one of their positions."""


def encoder_with_maps(side: int = SIDE) -> onnx.ModelProto:
    """The encoder that also gives the blurred picture itself, (1, 3, S/4, S/4) and (1, 3, S/8,
    S/8), as models do whose decoders look at fine detail.
    """
    graph = encoder_model(side).graph
    planes = next(node.output[0] for node in graph.node if node.op_type == "Transpose")
    outputs = list(graph.output)
    nodes = list(graph.node)
    for name, stride in MAPS.items():
        window = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(helper.make_node("AveragePool", [planes], [name], **window))
        outputs.append(_value(name, (1, 3, side // stride, side // stride)))
    return _assembled(nodes, list(graph.input), outputs, list(graph.initializer))


def decoder_with_maps(side: int = SIDE) -> onnx.ModelProto:
    """The decoder that adds the finer map's mean to its logits, and the coarser one's everywhere.

    It is small enough to predict: logits plus the mean over colours at stride 4, plus the mean of
    all of the map at stride 8.
    """
    graph = decoder_model(side).graph
    nodes = [node for node in graph.node if "low_res_masks" not in node.output]
    last = next(node for node in graph.node if "low_res_masks" in node.output)
    fine, coarse = MAPS
    nodes += [
        helper.make_node(last.op_type, list(last.input), ["without_maps"]),
        helper.make_node("ReduceMean", [fine], ["fine"], axes=[1], keepdims=1),
        helper.make_node("ReduceMean", [coarse], ["coarse"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Add", ["fine", "coarse"], ["detail"]),
        helper.make_node("Add", ["without_maps", "detail"], ["low_res_masks"]),
    ]
    inputs = [_value(n, (1, 3, side // stride, side // stride)) for n, stride in MAPS.items()]
    inputs += list(graph.input)
    return _assembled(nodes, inputs, list(graph.output), list(graph.initializer))


def _assembled(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "toy", inputs, outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def records(model: onnx.ModelProto) -> tuple[list[TensorRecord], list[TensorRecord]]:
    kinds = {TensorProto.FLOAT: "float32", TensorProto.UINT8: "uint8"}

    def record(value: Any) -> TensorRecord:
        tensor = value.type.tensor_type
        shape = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
        return TensorRecord(value.name, kinds[tensor.elem_type], shape)

    return [record(v) for v in model.graph.input], [record(v) for v in model.graph.output]


def blank_manifest(**changes: Any) -> Manifest:
    manifest = Manifest(
        schema=SCHEMA,
        id="",
        samedge_version=__version__,
        created="2026-01-01T00:00:00Z",
        model=ModelRecord(name="toy", licence="Apache-2.0", origin="tests/toys"),
        target="cpu",
        backend="onnxruntime",
        device="cpu",
        precision="fp32",
        input_size=SIDE,
        frame=FRAME,
        prompts=list(DRAWN_KINDS),
        thresholds=Thresholds(),
        graphs=[],
        artifacts=[],
    )
    return msgspec.structs.replace(manifest, **changes)


def shapes_of(bucket: Sequence[int], side: int = SIDE) -> Shape:
    """The decoder's shapes for ``(B, N)``."""
    batch, length = bucket
    return {
        "point_coords": [batch, length, 2],
        "point_labels": [batch, length],
        "mask_input": [batch, 1, side // 4, side // 4],
        "has_mask_input": [batch],
    }


def write_bundle(
    destination: Path,
    *,
    encoder: onnx.ModelProto | None = None,
    decoder: onnx.ModelProto | None = None,
    reference: Backend | None = None,
    before_commit: Callable[[BundleWriter], None] | None = None,
    buckets: Sequence[Sequence[int]] = (),
    others: Mapping[str, onnx.ModelProto] | None = None,
    files: Mapping[str, bytes] | None = None,
    **changes: Any,
) -> Bundle:
    """Write the toy bundle.

    Args:
        destination: folder or ``.samedge`` file.
        encoder: another encoder graph.
        decoder: another decoder graph.
        reference: backend that records the canary; without one there is no canary.
        before_commit: called with the writer just before the end.
        buckets: ``(B, N)`` of the decoder's fixed shapes.
        others: further graphs by their roles.
        files: further artifacts by their names.
        changes: other values of the manifest's fields.
    """
    models = {"encoder": encoder or encoder_model(), "decoder": decoder or decoder_model()}
    models |= others or {}
    with BundleWriter(destination) as writer:
        graphs = []
        for role, model in models.items():
            onnx.save(model, writer.folder / f"{role}.onnx")
            inputs, outputs = records(model)
            graphs.append(
                writer.graph(
                    role,
                    f"{role}.onnx",
                    artifact_format="onnx",
                    precision="fp32",
                    inputs=inputs,
                    outputs=outputs,
                    shapes=[shapes_of(bucket) for bucket in buckets] if role == "decoder" else (),
                )
            )
        for name, data in (files or {}).items():
            (writer.folder / name).write_bytes(data)
            writer.file(name)
        manifest = blank_manifest(graphs=graphs, artifacts=writer.artifacts, **changes)
        canary = None
        if reference is not None:
            staged = Bundle(writer.folder, writer.folder, manifest)
            with Graphs(staged, reference) as opened:
                canary = record_canary(opened, opened.frame)
        if before_commit:
            before_commit(writer)
        return writer.commit(manifest, canary=canary)


def centre(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return columns.mean() + 0.5, rows.mean() + 0.5
