"""Core ML packages: ML Programs in fp16 for iPhone, iPad and Mac, made and checked on any machine.

The decoder has fixed shapes, because the Neural Engine wants them; shorter prompts are padded with
label -1, which is exact. The files open on iOS 17 and macOS 14, with 4-bit weights on iOS 18.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samedge import runtimes
from samedge._version import __version__
from samedge.errors import ExportError
from samedge.export.base import ExportedGraph, Exporter, ExportRequest
from samedge.export.coreml.compression import compress
from samedge.export.coreml.conversion import MinimumOs, convert
from samedge.export.coreml.planar import PlanarDecoderGraph
from samedge.export.graphs import EncoderGraph, Graph, folded
from samedge.export.onnx_graph import metadata
from samedge.feeds import Bucket
from samedge.targets import Target
from samedge.types import Precision

_COMPRESSED = (Precision.W8, Precision.W6, Precision.W4)
_DEBUG_FILE = "executorch_debug_handle_mapping.json"
_DESCRIPTIONS = {
    "image": "RGB picture, longest side resized to the input size, padded right and bottom with "
    "(124, 116, 104). Normalisation is inside.",
    "image_embeddings": "What the decoder needs to know of the picture.",
    "point_coords": "xy pixels of the padded input; unused rows may hold anything.",
    "point_labels": "1 foreground, 0 background, 2 and 3 box corners, -1 padding, -2 unused.",
    "mask_input": "Low-res logits of an earlier mask, or zeros.",
    "has_mask_input": "1 where mask_input counts, else 0.",
    "low_res_masks": "Logits of four masks at a quarter of the input size; above 0 is inside.",
    "iou_predictions": "The model's own estimate of each mask's IoU.",
}


class CoremlExporter(Exporter):
    """One ``.mlpackage`` a graph."""

    name = "coreml"
    precisions = (Precision.FP16, Precision.FP32, *_COMPRESSED)
    packages = ("torch", "coremltools")

    def check_backend(self, target: Target) -> str:
        """Core ML itself on a Mac; elsewhere the reader of its files."""
        native = runtimes.get(target.backend)
        return native.name if native.probe().available else "mil"

    def graphs(self, request: ExportRequest) -> Iterator[Graph]:
        """The encoder, and the decoder as the Neural Engine wants it."""
        yield EncoderGraph(request.model)
        yield PlanarDecoderGraph(request.model, bucket=self._bucket(request))

    def _bucket(self, request: ExportRequest) -> Bucket:
        if not request.buckets:
            raise ExportError(
                "Core ML decoders have fixed shapes, and no prompt bucket was given: "
                "leave the target's own, or give one such as (1, 11)."
            )
        return request.buckets[0]

    def _check(self, request: ExportRequest) -> None:
        super()._check(request)
        if request.dialects:
            raise ExportError(
                f"Format {self.name!r} has no decoder in dialect {', '.join(request.dialects)}: "
                "export it for a target that reads ONNX."
            )

    def _export(self, graph: Graph, request: ExportRequest, folder: Path) -> ExportedGraph:
        precision = request.precision
        minimum_os: MinimumOs = "iOS18" if precision is Precision.W4 else "iOS17"
        half = precision is not Precision.FP32
        with folded(graph):
            model = convert(graph, half=half, minimum_os=minimum_os).model
        if precision in _COMPRESSED:
            model = compress(model, precision)
        _describe(model, graph, request)
        path = folder / f"{graph.role}.mlpackage"
        model.save(str(path))
        (path / _DEBUG_FILE).unlink(missing_ok=True)
        return ExportedGraph(graph=graph, path=path.name, format=self.name, precision=precision)


def _describe(model: Any, graph: Graph, request: ExportRequest) -> None:
    """Put into the package what it is, how to feed it, and whose it is."""
    source = request.source
    model.author = source.origin
    model.license = source.licence
    model.version = __version__
    model.short_description = f"Segment Anything: {graph.role} of {source.name}, by samedge."
    normalize = request.model.normalize
    preprocessing = {
        "input_size": request.model.image_size,
        "resize": "longest side, bilinear",
        "pad_value": [124, 116, 104],
        "pad": "right and bottom",
        "mean_in_graph": [round(v, 4) for v in normalize.mean.flatten().tolist()],
        "std_in_graph": [round(v, 4) for v in normalize.std.flatten().tolist()],
    }
    facts = {**metadata(graph, request), "preprocessing": json.dumps(preprocessing)}
    for key, value in facts.items():
        model.user_defined_metadata[f"samedge.{key}"] = value
    for name in graph.example():
        model.input_description[name] = _DESCRIPTIONS[name]
    for name in graph.output_names:
        model.output_description[name] = _DESCRIPTIONS[name]


EXPORTER = CoremlExporter()
