"""Core ML packages: ML Programs in fp16 for iPhone, iPad and Mac, made and checked on any machine.

The decoder has fixed shapes, because the Neural Engine wants them; shorter prompts are padded with
label -1, which is exact. The files open on iOS 17 and macOS 14, and with some options on iOS 18.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samedge import runtimes
from samedge._version import __version__
from samedge.calibration.plan import PrecisionPlan
from samedge.errors import ExportError
from samedge.export.base import ExportedGraph, Exporter, ExportRequest
from samedge.export.coreml.compression import COMPRESSED, Seen, activation_ranges, compress
from samedge.export.coreml.conversion import convert
from samedge.export.coreml.library import temporary_files
from samedge.export.coreml.merging import merged
from samedge.export.coreml.names import with_short_constants
from samedge.export.coreml.options import HELP, Layout, read_layout
from samedge.export.coreml.planar import PlanarDecoderGraph, PointlessDecoderGraph, PointsGraph
from samedge.export.graphs import EncoderGraph, Graph, folded
from samedge.export.onnx_graph import metadata
from samedge.export.quantization import feeds_of, plan_of
from samedge.files.scratch import scratch_folder
from samedge.targets import Target
from samedge.types import Precision

_CALIBRATION_FEEDS = 32
_DEBUG_FILE = "executorch_debug_handle_mapping.json"
_DESCRIPTIONS = {
    "image": "RGB picture, resized and padded as samedge.preprocessing says. Normalisation is "
    "inside.",
    "image_embeddings": "What the decoder needs to know of the picture.",
    "point_coords": "xy pixels of the padded input; unused rows may hold anything.",
    "point_labels": "1 foreground, 0 background, 2 and 3 box corners, -1 padding, -2 unused.",
    "mask_input": "Low-res logits of an earlier mask, or zeros.",
    "has_mask_input": "1 where mask_input counts, else 0.",
    "low_res_masks": "Logits of four masks at a quarter of the input size; above 0 is inside.",
    "regions": "RGB crops of regions, their outside dimmed.",
    "region_embeddings": "One row a region; its products with words' embeddings are logits.",
    "tokens": "Ids of CLIP's tokenizer between its marks, then zeros.",
    "text_embeddings": "The text's embedding, as long as the model's scale of logits.",
    "iou_predictions": "The model's own estimate of each mask's IoU.",
}
_MADE = "Made of points and labels by the prompts package; give it to the decoder."


class CoremlExporter(Exporter):
    """One ``.mlpackage`` a graph."""

    name = "coreml"
    precisions = (Precision.FP16, Precision.FP32, *COMPRESSED)
    packages = ("torch", "coremltools")
    max_buckets = 8
    region_batch = 8  # the Neural Engine wants fixed shapes
    int8_rest = Precision.FP16  # the Neural Engine multiplies nothing wider
    tries_precisions = False  # nothing here can time a Neural Engine
    option_help = HELP

    def heeds(self, plan: PrecisionPlan, precision: Precision) -> bool:
        """In every precision but fp32, whose weights stay as they are."""
        del plan
        return precision is not Precision.FP32

    def check_backend(self, target: Target) -> str:
        """Core ML itself on a Mac; elsewhere the reader of its files."""
        native = runtimes.get(target.backend)
        return native.name if native.probe().available else native.stand_in

    def prepared(self, request: ExportRequest) -> ExportRequest:
        """With the sizes of prompts that the options name."""
        self._check(request)
        return dataclasses.replace(request, buckets=_layout(request).buckets)

    def graphs(self, request: ExportRequest) -> Iterator[Graph]:
        """The encoder, and the decoder as the Neural Engine wants it, in one piece or two."""
        layout = _layout(request)
        bucket = layout.buckets[-1]
        yield EncoderGraph(request.model)
        if layout.is_apart:
            yield PointsGraph(request.model, bucket=bucket)
            yield PointlessDecoderGraph(request.model, bucket=bucket)
        else:
            yield PlanarDecoderGraph(request.model, bucket=bucket)
        yield from self.word_graphs(request)

    def export(self, request: ExportRequest, folder: Path) -> tuple[ExportedGraph, ...]:
        """As of ``Exporter.export``; with the option ``package=one`` all graphs in one file."""
        exported = super().export(request, folder)
        return merged(exported, folder) if _layout(request).is_one else exported

    def _check(self, request: ExportRequest) -> None:
        super()._check(request)
        _layout(request)
        if request.dialects:
            raise ExportError(
                f"Format {self.name!r} has no decoder in dialect {', '.join(request.dialects)}: "
                "export it for a target that reads ONNX."
            )

    @temporary_files()
    def _export(self, graph: Graph, request: ExportRequest, folder: Path) -> ExportedGraph:
        layout, plan = _layout(request), _plan(request)
        is_points = isinstance(graph, PointsGraph)
        half = request.precision is not Precision.FP32 and not is_points
        sizes = layout.buckets if isinstance(graph, PlanarDecoderGraph) else ()
        with folded(graph):
            conversion = convert(graph, half=half, minimum_os=layout.minimum_os, sizes=sizes)
        model = conversion.model
        if half and plan.precisions & set(COMPRESSED):
            module_of = conversion.module_of
            seen = functools.partial(self._seen, model, graph, request)
            model = compress(model, plan, module_of=module_of, seen=seen)
        model = with_short_constants(model)
        _describe(model, graph, request)
        path = folder / f"{graph.role}.mlpackage"
        model.save(str(path))
        (path / _DEBUG_FILE).unlink(missing_ok=True)
        return ExportedGraph(
            graph=graph,
            path=path.name,
            format=self.name,
            precision=request.precision if half else Precision.FP32,
            device="cpu" if is_points else None,
        )

    @staticmethod
    def _seen(model: Any, graph: Graph, request: ExportRequest) -> Seen:
        """What the activations are on the calibration set, in the uncompressed package."""
        request.steps.step(f"calibrating the {graph.role}")
        with scratch_folder() as folder:
            path = folder / "float.mlpackage"
            model.save(str(path))
            feeds = itertools.islice(feeds_of(graph, request), _CALIBRATION_FEEDS)
            return activation_ranges(path, feeds)


def _plan(request: ExportRequest) -> PrecisionPlan:
    if request.precision is Precision.FP32:
        return PrecisionPlan(default=Precision.FP32.value)
    return plan_of(request)


def _layout(request: ExportRequest) -> Layout:
    return read_layout(request.options, request.buckets, _plan(request))


def _describe(model: Any, graph: Graph, request: ExportRequest) -> None:
    """Put into the package what it is, how to feed it, and whose it is."""
    source = request.source
    model.author = source.origin
    model.license = source.licence
    model.version = __version__
    model.short_description = f"Segment Anything: {graph.role} of {source.name}, by samedge."
    frame = request.model.frame
    preprocessing = {
        "input_size": frame.target_length,
        "resize": frame.resize,
        "pad_value": frame.pad_value,
        "pad": "right and bottom",
        "mean_in_graph": frame.mean,
        "std_in_graph": frame.std,
    }
    facts = {**metadata(graph, request), "preprocessing": json.dumps(preprocessing)}
    for key, value in facts.items():
        model.user_defined_metadata[f"samedge.{key}"] = value
    for name in graph.example():
        model.input_description[name] = _DESCRIPTIONS.get(name, _MADE)
    for name in graph.output_names:
        model.output_description[name] = _DESCRIPTIONS.get(name, _MADE)


EXPORTER = CoremlExporter()
