"""Libraries that execute graphs, one file each; listing them imports none.

A file ``_name.py`` here exposes ``BACKEND``, a :class:`samedge.runtimes.base.Backend` called
``name``. Nothing else registers it.
"""

from __future__ import annotations

from samedge import _discovery
from samedge.errors import UnknownNameError
from samedge.runtimes.base import Backend

_PACKAGE = "samedge.runtimes"
_MEANT = {
    "ort": ("onnxruntime",),
    "ov": ("openvino",),
    "trt": ("tensorrt",),
    "cuda": ("onnxruntime", "tensorrt"),
    "gpu": ("onnxruntime", "tensorrt", "openvino"),
    "cpu": ("onnxruntime", "openvino"),
    "mps": ("torch", "coreml"),
}
"""What people call a backend, and devices that they give for one: answered, not taken."""


def names() -> tuple[str, ...]:
    """Names of all backends, whether their libraries are installed or not."""
    return _discovery.names(_PACKAGE)


def get(name: str) -> Backend:
    """The backend called ``name``; its library is not looked for yet.

    Raises:
        UnknownNameError: there is none; the message lists the known names.
    """
    meant = _MEANT.get(str(name).lower())
    if meant is not None and name not in names():
        raise UnknownNameError("backend", name, names(), meant=meant)
    backend: Backend = _discovery.load(_PACKAGE, name, attribute="BACKEND")
    return backend


def available(artifact_format: str | None = None) -> tuple[str, ...]:
    """Names of the backends whose libraries are here.

    Args:
        artifact_format: only those that open this format; ``None`` means any.
    """
    found = (get(name) for name in names())
    return tuple(
        backend.name
        for backend in found
        if (artifact_format is None or artifact_format in backend.formats)
        and backend.probe().available
    )
