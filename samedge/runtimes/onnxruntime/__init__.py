"""What ONNX Runtime has optimised; the backend itself is ``samedge.runtimes._onnxruntime``."""
