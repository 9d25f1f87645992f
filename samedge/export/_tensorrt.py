"""Strongly typed ONNX by TensorRT's rules, for NVIDIA Jetson and desktop GPUs.

The engine is built on the device, from this file, by ``samedge build`` or when it is first opened:
an engine fits one GPU and one version, and one from elsewhere is native code of a stranger. The
files are plain ONNX, so ONNX Runtime is the reference for their masks on any machine. Its
optimizations stay off there, because they rewrite what the file says about precision.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from samedge import runtimes
from samedge.export import tensorrt_rules
from samedge.export.base import ExportedGraph, Exporter, ExportRequest
from samedge.export.graphs import DecoderGraph, Graph
from samedge.export.islands import island_notes
from samedge.export.onnx_graph import onnx_model, save_onnx, written_onnx
from samedge.export.tensorrt_graph import cast_bytes_first
from samedge.export.tensorrt_precision import PRECISIONS, lower_precision
from samedge.pixels.prompts import Bucket
from samedge.targets import Target
from samedge.types import Precision

_AXES = ("batch", "points")
_SCRIPT_HEAD = """#!/bin/sh
# Builds and times an engine on the device, with TensorRT 10 or 11.
cd "$(dirname "$0")" || exit 1
PATH="$PATH:/usr/src/tensorrt/bin" # where JetPack puts trtexec
"""


class TensorRtExporter(Exporter):
    """One ``.onnx`` a graph, and beside it the ``trtexec`` command that builds its engine.

    The decoder's batch and points stay dynamic in the file. The bundle's prompt buckets become
    optimization profiles of one fixed shape each, so that every kernel is chosen for its shape and
    a CUDA graph can be captured for each.
    """

    name = "tensorrt"
    artifact_format = "onnx"
    precisions = PRECISIONS
    packages = ("torch", "onnx", "onnxslim", "onnxruntime")
    max_buckets = 8
    region_batch = 8  # kernels are chosen for one shape
    int8_rest = Precision.FP16  # tensor cores multiply nothing wider at full speed
    check_device = "cpu"
    plans_halves = True
    check_options = {"graph_optimization": "disabled"}  # noqa: RUF012 - see the module's docstring

    def check_backend(self, target: Target) -> str:
        """The reference, whether there is a GPU here or not."""
        return runtimes.get(target.backend).stand_in or target.backend

    def graphs(self, request: ExportRequest) -> Iterator[Graph]:
        """As of every exporter, but the decoder takes all buckets."""
        for graph in super().graphs(request):
            yield DecoderGraph(request.model) if isinstance(graph, DecoderGraph) else graph

    def _bucket(self, request: ExportRequest) -> None:
        del request

    def _export(self, graph: Graph, request: ExportRequest, folder: Path) -> ExportedGraph:
        import onnx

        if not graph.is_native:
            return written_onnx(graph, request, folder=folder)
        path = folder / f"{graph.role}.onnx"
        save_onnx(cast_bytes_first(onnx_model(graph, request)), path)
        precision = lower_precision(path, graph, request=request)
        model = onnx.load(path)
        tensorrt_rules.check(model, role=graph.role)
        extra = save_onnx(model, path)
        script = folder / f"{graph.role}.trtexec.sh"
        script.write_text(trtexec_script(graph, request.buckets), encoding="utf-8")
        return ExportedGraph(
            graph=graph,
            path=path.name,
            format=self.artifact_format,
            precision=precision,
            extra_files=(*extra, script.name),
            notes=island_notes(path),
        )


def trtexec_script(graph: Graph, buckets: tuple[Bucket, ...]) -> str:
    """A shell script that builds and times a graph's engine with NVIDIA's own tool.

    ``samedge build`` makes one profile a bucket; here one profile spans them all, so its times are
    close to, and not the same as, those of ``samedge bench``.

    Args:
        graph: whose engine it is.
        buckets: ``(B, N)`` shapes of the decoder.
    """
    command = [
        "trtexec",
        f"--onnx={graph.role}.onnx",
        f"--saveEngine={graph.role}.trtexec.engine",
        "--stronglyTyped",
        "--noTF32",
        "--useCudaGraph",
        "--useSpinWait",
    ]
    if graph.dynamic_axes:
        sizes = {
            "min": tuple(map(min, zip(*buckets, strict=True))) if buckets else (1, 1),
            "opt": buckets[0] if buckets else (1, 4),
            "max": tuple(map(max, zip(*buckets, strict=True))) if buckets else (16, 16),
        }
        command += [f"--{kind}Shapes={_shapes(graph, size)}" for kind, size in sizes.items()]
    lines = " \\\n  ".join(shlex.quote(part) for part in command)
    return f'{_SCRIPT_HEAD}{lines} "$@"\n'


def _shapes(graph: Graph, bucket: tuple[int, ...]) -> str:
    sizes = dict(zip(_AXES, bucket, strict=True))
    dynamic = [
        record
        for record in graph.input_records()
        if any(isinstance(axis, str) for axis in record.shape)
    ]
    shapes = [[sizes[a] if isinstance(a, str) else a for a in record.shape] for record in dynamic]
    return ",".join(
        f"{record.name}:{'x'.join(map(str, shape))}"
        for record, shape in zip(dynamic, shapes, strict=True)
    )


EXPORTER = TensorRtExporter()
