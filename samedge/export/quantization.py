"""Float graphs to the graphs of a precision plan, with feeds from the request's calibration set."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from samedge.calibration import base as quantizers
from samedge.calibration.base import Converted
from samedge.calibration.plan import (
    PlanRow,
    PrecisionPlan,
    check_modules,
    default_plan,
    load_plan,
)
from samedge.errors import CalibrationError
from samedge.export import base as exporters
from samedge.export.base import ExportRequest
from samedge.export.graphs import DecoderGraph, EncoderGraph, Graph, RegionGraph, TextGraph
from samedge.export.word_feeds import word_feeds
from samedge.models.zoo import WEIGHTS
from samedge.proof.photos import FEW_IMAGES, load_calibration
from samedge.proof.reference import TorchReference
from samedge.types import Array, Precision

_TOWERS = ("visual", "text")

logger = logging.getLogger(__name__)


def quantized(
    source: Path, destination: Path, *, graph: Graph, request: ExportRequest, quantizer: str
) -> Converted:
    """Write a graph as the request's plan wants it.

    Args:
        source: the float graph.
        destination: the file to write.
        graph: what it is a graph of: encoder or decoder.
        request: gives the plan and the calibration set.
        quantizer: name of the one for this format.

    Raises:
        CalibrationError: the plan or the calibration set does not fit.
    """
    count = len((request.calibration or load_calibration()).images)
    if count < FEW_IMAGES and graph.role == EncoderGraph.role:
        logger.warning(
            "%d calibration images are few: give %d or more of the device's own with --calibration",
            count,
            FEW_IMAGES,
        )
    request.steps.step(f"quantizing the {graph.role} with {quantizer}")
    plan = plan_of(request)
    if isinstance(graph, RegionGraph | TextGraph):
        plan = _with_float_ends(plan, graph)
    return quantizers.get(quantizer).quantize(
        source, destination, plan=plan, feeds=lambda: feeds_of(graph, request)
    )


def check_plan(request: ExportRequest) -> None:
    """Refuse a plan that speaks of modules which the model does not have, or that has no effect.

    Raises:
        CalibrationError: names the module, and the nearest one; or the precision.
    """
    if request.plan is not None:
        if not exporters.get(request.target.format).heeds(request.plan, request.precision):
            wanted = Precision.INT8 in request.target.precisions
            remedy = "give --precision int8, or " if wanted else ""
            raise CalibrationError(
                f"The plan would have no effect: an export for {request.target.name} in "
                f"{request.precision.value} follows none like it. Instead {remedy}leave it out."
            )
        graphs = EncoderGraph(request.model), DecoderGraph(request.model)
        check_modules(request.plan, (path for graph in graphs for path, _ in graph.named_modules()))


def plan_of(request: ExportRequest) -> PrecisionPlan:
    """The request's plan, or the default one of its precision.

    An embedded model comes with a plan, which says what of it must not be quantized.
    """
    if request.plan is not None:
        return request.plan
    plan = _usual_plan(request)
    own = WEIGHTS / f"{request.source.name}.plan.json"
    if request.precision is not Precision.INT8 or not own.is_file():
        return plan
    return plan.with_rows(
        msgspec.structs.replace(row, precision=plan.rest) for row in load_plan(own).modules
    )


def _usual_plan(request: ExportRequest) -> PrecisionPlan:
    if request.precision in (Precision.FP16, Precision.BF16):
        precision = request.precision.value
        return PrecisionPlan(default=precision, rest=precision)
    if request.precision not in (Precision.FP32, Precision.INT8):  # weights alone, of all modules
        return PrecisionPlan(default=request.precision.value, rest=Precision.FP16.value)
    rest = exporters.get(request.target.format).int8_rest
    if rest is not None:
        return default_plan(rest)
    options = request.target.backend_options(request.precision)
    computes_bf16 = options.get("inference_precision") == Precision.BF16.value
    return default_plan(Precision.BF16 if computes_bf16 else Precision.FP32)


def _with_float_ends(plan: PrecisionPlan, graph: RegionGraph | TextGraph) -> PrecisionPlan:
    """A plan that keeps the last product of CLIP's towers float, which is theirs and no layer's.

    It is a hundredth of the arithmetic, and what it rounds nothing evens out: of towers with random
    weights it costs as much as all else together, and NNCF's SmoothQuant ruins it (16 dB, not 35).
    """
    ends = [name for name in _TOWERS if hasattr(graph.model, name)]
    layers = [
        f"{end}.{name}" for end in ends for name, _ in getattr(graph.model, end).named_children()
    ]
    rows = [PlanRow(module=name, precision=plan.precision_of(name).value) for name in layers]
    rows += [PlanRow(module=end, precision=plan.rest) for end in ends]
    return plan.with_rows(rows)


def feeds_of(graph: Graph, request: ExportRequest) -> Iterable[Mapping[str, Array]]:
    """Calibration feeds of any of a request's graphs."""
    data = request.calibration or load_calibration()
    frame = request.model.frame
    if isinstance(graph, RegionGraph | TextGraph):
        return word_feeds(graph, request)
    if isinstance(graph, EncoderGraph):
        return data.encoder_feeds(frame)
    bucket = graph.bucket if isinstance(graph, DecoderGraph) else None
    return data.decoder_feeds(frame, TorchReference(request.model), bucket=bucket)
