"""Q/DQ ONNX with unsigned activations, for ONNX Runtime; see :mod:`~samedge.calibration.qdq`."""

from __future__ import annotations

from samedge.calibration.qdq import QdqQuantizer


class UnsignedQdq(QdqQuantizer):
    """Activations have a zero point, weights seven bits.

    A bundle may be made on a processor with VNNI and run on one without, where eight bits overflow;
    which of them there is cannot be told from the file. So seven it is, always.
    """

    name = "qdq_unsigned"
    packages = ("onnx", "onnxruntime")
    backends = ("onnxruntime",)
    signed = False
    seven_bits = True
    note = "weights in 7 of 8 bits: with 8, kernels of processors without VNNI overflow"


QUANTIZER = UnsignedQdq()
