"""Q/DQ ONNX with unsigned activations, for ONNX Runtime; see :mod:`~samedge.calibration.qdq`."""

from __future__ import annotations

from samedge.calibration.qdq import QdqQuantizer

QUANTIZER = QdqQuantizer("qdq_unsigned", signed=False)
