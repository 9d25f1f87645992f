"""Q/DQ ONNX with signed activations, for TensorRT; see :mod:`~samedge.calibration.qdq`."""

from __future__ import annotations

from samedge.calibration.qdq import QdqQuantizer


class SignedQdq(QdqQuantizer):
    """Activations are symmetric around zero."""

    name = "qdq"
    packages = ("onnx", "onnxruntime")
    signed = True


QUANTIZER = SignedQdq()
