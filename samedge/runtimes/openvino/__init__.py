"""OpenVINO's compiled graphs; the backend itself is ``samedge.runtimes._openvino``."""
