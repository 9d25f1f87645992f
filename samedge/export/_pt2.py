"""PyTorch programs (``torch.export``), for machines that have torch and for checks against it."""

from __future__ import annotations

import inspect
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from samedge.export.base import ExportedGraph, Exporter, ExportRequest
from samedge.export.graphs import Graph, folded
from samedge.export.onnx_graph import written_onnx
from samedge.types import Precision


class Pt2Exporter(Exporter):
    """One ``.pt2`` file a graph, whose program returns its outputs by name."""

    name = "pt2"
    precisions = (Precision.FP32,)
    packages = ("torch", "onnx", "onnxslim")

    def _export(self, graph: Graph, request: ExportRequest, folder: Path) -> ExportedGraph:
        if not graph.is_native:
            return written_onnx(graph, request, folder=folder)
        path = folder / f"{graph.role}.pt2"
        example = graph.example()
        dynamic = {
            name: dict.fromkeys(graph.dynamic_axes.get(name, {}), torch.export.Dim.DYNAMIC)
            for name in example
        }
        with folded(graph), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch
            program = torch.export.export(
                _Named(graph), tuple(example.values()), dynamic_shapes=dynamic
            )
            _forget_places(program)
            buffer = io.BytesIO()  # torch's own writer ends the process where the disk is full
            torch.export.save(program, buffer)
        path.write_bytes(buffer.getbuffer())
        return ExportedGraph(
            graph=graph, path=path.name, format=self.name, precision=request.precision
        )


def _forget_places(program: torch.export.ExportedProgram) -> None:
    """Drop the stack traces of a program, which name folders of the machine that exported it."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


class _Named(nn.Module):
    """A graph that returns a dict, and takes its inputs under the graph's own names."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.body = graph  # "graph" is taken in torch's own modules
        names = graph.output_names

        def forward(*inputs: Tensor) -> dict[str, Tensor]:
            outputs = graph(*inputs)
            if isinstance(outputs, Tensor):
                outputs = (outputs,)
            return dict(zip(names, outputs, strict=True))

        # torch names a program's inputs after the parameters that inspect sees.
        forward.__signature__ = inspect.signature(graph.forward)  # type: ignore[attr-defined]
        self.forward = forward


EXPORTER = Pt2Exporter()
