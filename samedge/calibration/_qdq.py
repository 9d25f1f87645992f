"""Q/DQ ONNX with signed activations, for TensorRT; see :mod:`~samedge.calibration.qdq`."""

from __future__ import annotations

from samedge.calibration.qdq import QdqQuantizer

QUANTIZER = QdqQuantizer("qdq", signed=True)
