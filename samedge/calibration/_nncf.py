"""INT8 for OpenVINO IR, by NNCF: weights a channel, ranges from the calibration set.

A graph with attention is quantized with NNCF's transformer preset (SmoothQuant, and asymmetric
ranges after it), a convolutional one with the mixed preset. Its fast bias correction is on. Only
products are quantized: residual additions, normalisations and Softmax stay float.

What was written is then run: integer kernels have been seen to compute something else than the
file says (:mod:`~samedge.calibration.kernels`), and a layer that does stays float.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samedge.calibration.base import Converted, FeedSource, Quantizer
from samedge.calibration.kernels import wrong_layer
from samedge.calibration.modules import module_from_node
from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.machine.libraries import library
from samedge.types import Precision

_WEIGHTED = frozenset({"Convolution", "GroupConvolution", "MatMul", "ConvolutionBackpropData"})
_MAX_FEEDS = 300  # NNCF's default
_SMALL_WEIGHTS = 4096  # elements; below it nothing is gained, and depthwise layers lose most


class NncfQuantizer(Quantizer):
    """OpenVINO IR to OpenVINO IR with FakeQuantize at the planned products."""

    name = "nncf"
    packages = ("nncf", "openvino")
    formats = ("openvino",)
    precisions = (Precision.INT8,)

    def modules(self, source: Path) -> tuple[str, ...]:
        """Modules with products of constant weights."""
        openvino = library("openvino")
        return _modules(openvino.Core().read_model(source))

    def _quantize(
        self, source: Path, destination: Path, *, plan: PrecisionPlan, feeds: FeedSource
    ) -> Converted:
        openvino = library("openvino")
        model = openvino.Core().read_model(source)
        known, kept = _modules(model), dict[str, str]()
        quantized, planned = model, tuple(name for name in known if plan.is_quantized(name))
        while planned:
            quantized = _quantized(openvino.Core().read_model(source), plan, feeds)
            wrong = wrong_layer(quantized, next(iter(feeds())), modules=planned)
            if wrong is None:
                break
            kept[wrong.module] = wrong.reason
            plan = plan.with_rows([PlanRow(module=wrong.module, precision=plan.rest)])
            quantized, planned = model, tuple(name for name in known if plan.is_quantized(name))
        half = plan.rest != Precision.FP32.value
        if half:
            quantized = _with_small_weights(quantized, plan)
        openvino.save_model(quantized, destination, compress_to_fp16=half)
        return Converted(destination, planned, kept)


def _modules(model: Any) -> tuple[str, ...]:
    found = (module_from_node(name) for name in quantizable_nodes(model))
    return tuple(dict.fromkeys(module for module in found if module))


def quantizable_nodes(model: Any) -> list[str]:
    """Friendly names of an OpenVINO model's products with constant weights, in order."""
    return [
        op.get_friendly_name()
        for op in model.get_ordered_ops()
        if op.get_type_name() in _WEIGHTED and _is_constant(op.input_value(1).get_node())
    ]


def _is_constant(node: Any) -> bool:
    """Whether a node is a constant, perhaps converted, reshaped or transposed."""
    while node.get_type_name() in ("Convert", "Reshape", "Transpose"):
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def _quantized(model: Any, plan: PrecisionPlan, feeds: FeedSource) -> Any:
    nncf = _library()
    kept = [
        op.get_friendly_name()
        for op in model.get_ordered_ops()
        if op.get_type_name() not in ("Constant", "Parameter", "Result")
        and not (
            op.get_type_name() in _WEIGHTED
            and plan.is_quantized(module_from_node(op.get_friendly_name()))
        )
    ]
    with _quiet():
        return nncf.quantize(
            model,
            nncf.Dataset(_stream(feeds)),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if _has_attention(model) else None,
            fast_bias_correction=True,
            subset_size=_MAX_FEEDS,
            ignored_scope=nncf.IgnoredScope(names=kept, validate=False) if kept else None,
        )


def _with_small_weights(model: Any, plan: PrecisionPlan) -> Any:
    """The model with the large weights of its float layers stored in 8 bits, a scale a channel.

    They compute in half precision as before; layers that the plan gives ``fp32`` stay as they are.
    """
    nncf = _library()
    kept = [
        op.get_friendly_name()
        for op in model.get_ordered_ops()
        if op.get_type_name() in _WEIGHTED and _keeps_weights(op, plan)
    ]
    with _quiet():
        small = nncf.compress_weights(
            model,
            mode=nncf.CompressWeightsMode.INT8_SYM,
            ignored_scope=nncf.IgnoredScope(names=kept, validate=False) if kept else None,
        )
    if "nncf" in small.get_rt_info():
        del small.get_rt_info()["nncf"]  # a long list of names that nothing reads
    return small


def _keeps_weights(op: Any, plan: PrecisionPlan) -> bool:
    module = module_from_node(op.get_friendly_name())
    size = math.prod(op.input_value(1).get_partial_shape().get_min_shape())
    return size < _SMALL_WEIGHTS or plan.precision_of(module) is Precision.FP32


def _stream(feeds: FeedSource) -> Any:
    class Stream:
        """NNCF reads a dataset several times."""

        def __iter__(self) -> Iterator[Any]:
            return (dict(feed) for feed in feeds())

    return Stream()


def _has_attention(model: Any) -> bool:
    return any(
        op.get_type_name() in ("Softmax", "ScaledDotProductAttention") for op in model.get_ops()
    )


def _library() -> Any:
    """NNCF, without the warning of torch's build tools, which it imports, of a CUDA without GPU."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    return library("nncf")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's log and progress bars."""
    nncf = _library()
    logger = logging.getLogger("nncf")
    before = logger.level
    nncf.set_log_level(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)


QUANTIZER = NncfQuantizer()
