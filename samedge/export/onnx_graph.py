"""Torch modules to small, checked ONNX models. What the formats that start from ONNX share.

torch has two exporters. The traced one writes opset 17 in seconds; the one based on
``torch.export`` needs opset 18, takes five times as long, and leads, once simplified, to the same
number of nodes for an encoder and to slightly fewer shape computations for a decoder, which do not
show in its latency. So the traced one goes first and the other where it fails.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from samedge._version import __version__
from samedge.errors import ExportError, WriteError
from samedge.export.base import ExportedGraph, ExportRequest
from samedge.export.graphs import Graph, folded
from samedge.files.scratch import scratch_folder
from samedge.machine.libraries import library, silence_reports
from samedge.types import Precision

MIN_OPSET = 17  # the first with LayerNormalization
_CAPTURE_OPSET = 18  # the first that torch.export's route writes
_UNREADABLE = "Unable to "  # open or parse it: what the checker says where a disk fails
_MAX_PROTOBUF_BYTES = 2**31 - 2**20
_LARGEST_FOLDED_BYTES = 2**20
"""Computed constants above this stay computed: the runtime folds them when it loads the file."""

logger = logging.getLogger(__name__)


def onnx_model(graph: Graph, request: ExportRequest) -> Any:
    """Turn a graph into a simplified ``onnx.ModelProto`` with its metadata inside.

    Args:
        graph: what to export, in evaluation mode.
        request: gives the opset and the metadata.

    Raises:
        ExportError: neither of torch's exporters can write the graph, or one of them or the
            simplifier lost an input or an output.
    """
    silence_reports()  # torch's exporters load ONNX Runtime where it is installed
    opset = max(MIN_OPSET, request.target.opset)
    with folded(graph), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch, and notes of its tracer
        try:
            model = _traced(graph, opset)
        except Exception as error:  # noqa: BLE001 - any failure leads to the other exporter
            logger.info("torch's tracer cannot write the %s: %s", graph.role, error)
            model = _captured(graph, max(opset, _CAPTURE_OPSET), error)
    model = _simplified(model)
    _check_names(model, graph)
    _describe(model, graph, request)
    return model


def save_onnx(model: Any, path: Path) -> tuple[str, ...]:
    """Write and check a model.

    Args:
        model: an ``onnx.ModelProto``.
        path: the ``.onnx`` file.

    Returns:
        Names of further files: the weights, where protobuf cannot hold them.

    Raises:
        ExportError: the model breaks ONNX's rules.
        WriteError: the file cannot be read again.
    """
    import onnx

    extra: tuple[str, ...] = ()
    if model.ByteSize() > _MAX_PROTOBUF_BYTES:
        extra = (f"{path.name}.data",)
        onnx.save_model(
            model, path, save_as_external_data=True, location=extra[0], convert_attribute=False
        )
    else:
        onnx.save_model(model, path)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        if str(error).startswith(_UNREADABLE):
            raise WriteError(
                f"{path} cannot be read again ({error}): look after the disk, and export once more."
            ) from error
        raise ExportError(
            f"{path.name} breaks ONNX's rules: {error}. This is a bug of samedge: please report it."
        ) from error
    return extra


def written_onnx(graph: Graph, request: ExportRequest, *, folder: Path) -> ExportedGraph:
    """A graph of another project's dialect, whose programs read nothing else than float ONNX.

    Args:
        graph: what to write.
        request: gives the metadata.
        folder: for the file.

    Raises:
        ExportError, WriteError: as of :func:`onnx_model` and :func:`save_onnx`.
    """
    path = folder / f"{graph.role}.onnx"
    extra = save_onnx(onnx_model(graph, request), path)
    return ExportedGraph(
        graph=graph, path=path.name, format="onnx", precision=Precision.FP32, extra_files=extra
    )


def _traced(graph: Graph, opset: int) -> Any:
    """ONNX by torch's tracer."""
    import onnx

    example = graph.example()
    axes = {name: dict(axes) for name, axes in graph.dynamic_axes.items()}
    with scratch_folder() as folder:
        path = folder / "graph.onnx"  # torch moves weights beside it where protobuf is full
        torch.onnx.export(
            graph,
            tuple(example.values()),
            str(path),
            opset_version=opset,
            input_names=list(example),
            output_names=list(graph.output_names),
            dynamic_axes=axes,
            dynamo=False,
        )
        return onnx.load(path)


def _captured(graph: Graph, opset: int, first_error: Exception) -> Any:
    """ONNX by ``torch.export``."""
    example = graph.example()
    dynamic = {
        name: dict.fromkeys(graph.dynamic_axes.get(name, {}), torch.export.Dim.DYNAMIC)
        for name in example
    }
    try:
        program = torch.onnx.export(
            graph,
            tuple(example.values()),
            opset_version=opset,
            input_names=list(example),
            output_names=list(graph.output_names),
            dynamic_shapes=dynamic if any(dynamic.values()) else None,
            dynamo=True,
            verbose=False,
        )
    except Exception as error:
        raise ExportError(
            f"The {graph.role} cannot be written as ONNX: torch's tracer says: {first_error}; "
            f"torch.export says: {error}"
        ) from error
    assert program is not None
    return program.model_proto


def _simplified(model: Any) -> Any:
    onnxslim = library("onnxslim")
    if model.ByteSize() > _MAX_PROTOBUF_BYTES:
        return model  # onnxslim copies models through protobuf
    return onnxslim.slim(model, size_threshold=_LARGEST_FOLDED_BYTES)


def _check_names(model: Any, graph: Graph) -> None:
    """For every dialect: other projects' programs feed by name, too."""
    pairs = (
        ("inputs", graph.example(), model.graph.input),
        ("outputs", graph.output_names, model.graph.output),
    )
    for kind, names, values in pairs:
        wanted, found = sorted(names), sorted(value.name for value in values)
        if wanted != found:
            raise ExportError(
                f"The {graph.role} came out as ONNX with the {kind} {', '.join(found)}, expected "
                f"{', '.join(wanted)}: nothing in the model may read one that is missing."
            )


def _describe(model: Any, graph: Graph, request: ExportRequest) -> None:
    """Put into the file what it is, and take out what is the exporting machine's own business."""
    import onnx

    model.producer_name, model.producer_version = "samedge", __version__
    model.graph.name = f"{request.source.name}-{graph.role}"
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata(graph, request))


def metadata(graph: Graph, request: ExportRequest) -> Mapping[str, str]:
    """What an exported file says of itself."""
    source = request.source
    facts = {
        "samedge_version": __version__,
        "model": source.name,
        "licence": source.licence,
        "origin": source.origin,
        "role": str(graph.role),
        "input_size": str(request.model.image_size),
        "precision": request.precision.value,
    }
    return {name: value for name, value in facts.items() if value}
