"""Explicit Q/DQ ONNX for ONNX Runtime and TensorRT, by onnxruntime.quantization.

What TensorRT accepts is narrower than what ONNX Runtime writes by default: signed 8-bit on both
sides, symmetric weights a channel and symmetric activations a tensor, no quantized bias, no zero
points. Only products with constant weights are quantized. Residual additions, normalisations and
Softmax stay in float: quantized additions alone cost more than 2 dB.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from samedge.calibration.base import Converted, FeedSource, Quantizer, unchanged
from samedge.calibration.bias import correct_biases
from samedge.calibration.modules import module_from_node
from samedge.calibration.plan import PrecisionPlan
from samedge.files.scratch import scratch_folder
from samedge.machine.libraries import library
from samedge.types import Array, Precision

_WEIGHTED = frozenset({"Conv", "MatMul", "Gemm"})


class QdqQuantizer(Quantizer):
    """ONNX to ONNX with QuantizeLinear and DequantizeLinear around the planned products.

    Attributes:
        signed: activations are signed and symmetric, as TensorRT wants them. Otherwise they are
            unsigned with a zero point, which ONNX Runtime on x86-64 computes faster and which
            spends no range on signs that never come.
        seven_bits: weights keep to -64..64. Where a processor lacks VNNI, ONNX Runtime's kernels
            for unsigned activations and signed weights add pairs of products in 16 bits: only so
            they cannot overflow (255 * 64 * 2 = 32,640).
    """

    formats = ("onnx",)
    precisions = (Precision.INT8,)
    signed: bool
    seven_bits: bool = False

    def modules(self, source: Path) -> tuple[str, ...]:
        """Modules with products of constant weights."""
        found = (module_from_node(name) for name in quantizable_nodes(source))
        return tuple(dict.fromkeys(module for module in found if module))

    def _quantize(
        self, source: Path, destination: Path, *, plan: PrecisionPlan, feeds: FeedSource
    ) -> Converted:
        kinds = library("onnxruntime.quantization").QuantType
        tools = library("onnxruntime.quantization.quant_utils")
        with scratch_folder() as scratch, _quiet():
            prepared = _prepared(source, scratch / "prepared.onnx")
            found = {name: module_from_node(name) for name in quantizable_nodes(prepared)}
            nodes = [name for name, module in found.items() if plan.is_quantized(module)]
            if not nodes:
                return unchanged(source, destination)
            ranges = _ranges(prepared, scratch / "augmented.onnx", feeds())
            quantizer = library("onnxruntime.quantization.qdq_quantizer").QDQQuantizer(
                tools.load_model_with_shape_infer(prepared),
                per_channel=True,
                reduce_range=self.seven_bits,
                weight_qType=kinds.QInt8,
                activation_qType=kinds.QInt8 if self.signed else kinds.QUInt8,
                tensors_range=ranges,
                nodes_to_quantize=nodes,
                nodes_to_exclude=[],
                op_types_to_quantize=sorted(_WEIGHTED),
                extra_options={
                    "ActivationSymmetric": self.signed,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                },
            )
            quantizer.quantize_model()
            quantizer.model.save_model_to_file(destination)
            correct_biases(prepared, destination, feeds=feeds())
        return Converted(destination, tuple(dict.fromkeys(found[name] for name in nodes)))


def quantizable_nodes(path: Path) -> list[str]:
    """Names of an ONNX file's products with constant weights, in order."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constant = {tensor.name for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in _WEIGHTED and any(name in constant for name in node.input[1:2])
    ]


def _prepared(source: Path, path: Path) -> Path:
    """Infer shapes and fold batch norms: exact, and what the quantizer wants to see."""
    shapes = library("onnxruntime.quantization.shape_inference")
    shapes.quant_pre_process(source, path, skip_symbolic_shape=True)
    return path


def _ranges(path: Path, scratch: Path, feeds: Iterable[Mapping[str, Array]]) -> Any:
    """Least and largest value of every activation beside a product.

    ``quantize_static`` would run them in ONNX Runtime's default order, which may reduce every
    activation at the end and hold them all until then: more than 22 GB for SAM's ViT-B.
    """
    onnxruntime = library("onnxruntime")
    base: Any = library("onnxruntime.quantization.calibrate").MinMaxCalibrater

    class InOrder(base):  # type: ignore[misc]  # no types
        def create_inference_session(self) -> None:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
            self.infer_session = onnxruntime.InferenceSession(
                self.augmented_model_path, options, providers=["CPUExecutionProvider"]
            )

    calibrater = InOrder(path, sorted(_WEIGHTED), augmented_model_path=str(scratch))
    calibrater.augment_graph()
    calibrater.create_inference_session()
    calibrater.collect_data(_Reader(feeds))
    return calibrater.compute_data()


class _Reader:
    """Calibration feeds as ONNX Runtime reads them, one at a time."""

    def __init__(self, feeds: Iterable[Mapping[str, Array]]) -> None:
        self._feeds: Iterator[Mapping[str, Array]] = iter(feeds)

    def get_next(self) -> dict[str, Array] | None:
        """The next feeds, ``None`` at the end."""
        following = next(self._feeds, None)
        return None if following is None else dict(following)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that the library writes to the root logger and as warnings.

    A filter of the root logger sees only what is written to that logger itself: the records of
    all others go on as before.
    """
    root = logging.getLogger()
    root.addFilter(_is_no_advice)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
