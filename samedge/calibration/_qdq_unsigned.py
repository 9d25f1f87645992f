"""Q/DQ ONNX with unsigned activations, for ONNX Runtime; see :mod:`~samedge.calibration.qdq`."""

from __future__ import annotations

from samedge.calibration.qdq import QdqQuantizer


class UnsignedQdq(QdqQuantizer):
    """Activations have a zero point."""

    name = "qdq_unsigned"
    packages = ("onnx", "onnxruntime")
    backends = ("onnxruntime",)
    signed = False


QUANTIZER = UnsignedQdq()
