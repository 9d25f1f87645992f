"""Whether OpenVINO's integer kernels compute what a quantized graph says.

A graph with FakeQuantize can run in two ways: rewritten to integer kernels, or in float with the
rounding written out. Both must agree. On processors with AMX a 4 x 4 convolution of stride 4 did
not (OpenVINO 2026.4: 6 dB, while every other layer agreed), and nothing but the masks told.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from samedge.calibration.modules import module_from_node
from samedge.machine.libraries import library
from samedge.types import Array

AGREES_DB = 15.0
"""Signal to noise ratio between the two runs. Rounding alone leaves more than 20 dB."""

_LAYERS = frozenset({"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"})
_WITHOUT_INTEGERS = {"LP_TRANSFORMS_MODE": "NO"}
_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class WrongLayer:
    """A layer whose integer kernel cannot be trusted here.

    Attributes:
        module: the module that it belongs to.
        reason: what was measured.
    """

    module: str
    reason: str


def wrong_layer(
    model: Any, feeds: Mapping[str, Array], *, modules: Collection[str]
) -> WrongLayer | None:
    """The first layer whose integer kernel gives other numbers than its rounding in float.

    Args:
        model: an OpenVINO model with FakeQuantize; it is not changed.
        feeds: one calibration sample.
        modules: those that were quantized; the layers of others are not asked.

    Returns:
        ``None`` where all agree, or where the processor has no such choice.
    """
    openvino = library("openvino")
    core = openvino.Core()
    if not _differs(core, model, feeds):
        return None
    watched = model.clone()
    layers = [op for op in watched.get_ordered_ops() if op.get_type_name() in _LAYERS]
    named = [op for op in layers if module_from_node(op.get_friendly_name()) in modules]
    count = len(watched.outputs)
    watched.add_outputs([op.output(0) for op in named])
    integer = _run(core, watched, feeds, _EXACT)[count:]
    plain = _run(core, watched, feeds, {**_EXACT, **_WITHOUT_INTEGERS})[count:]
    for op, measured, expected in zip(named, integer, plain, strict=True):
        ratio = _decibels(expected, measured)
        if not ratio >= AGREES_DB:
            module = module_from_node(op.get_friendly_name())
            reason = f"its integer kernel is wrong on this processor: {ratio:.0f} dB"
            logger.warning("%s stays float: %s", module, reason)
            return WrongLayer(module, reason)
    return None


def _differs(core: Any, model: Any, feeds: Mapping[str, Array]) -> bool:
    """Whether any output of the whole graph disagrees between the two ways to run it."""
    integer = _run(core, model, feeds, _EXACT)
    plain = _run(core, model, feeds, {**_EXACT, **_WITHOUT_INTEGERS})
    pairs = zip(plain, integer, strict=True)
    return not all(_decibels(a, b) >= AGREES_DB for a, b in pairs)  # NaN agrees with nothing


def _run(
    core: Any, model: Any, feeds: Mapping[str, Array], options: Mapping[str, str]
) -> list[Array]:
    results = core.compile_model(model, "CPU", dict(options))(dict(feeds))
    return [np.asarray(results[output], np.float64) for output in results]


def _decibels(expected: Array, measured: Array) -> float:
    """Signal to noise ratio; infinite where there is no noise, as for a layer of zeros."""
    error = float(np.square(expected - measured).mean())
    if not error:
        return math.inf
    return float(10 * np.log10(float(np.square(expected).mean()) / error + 1e-30))
