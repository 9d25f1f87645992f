"""The one door to libraries that report to their makers: their reports are off before they load.

ONNX Runtime from 1.29 on keeps a device id in the user's home and sends what is opened to its
maker; ``import openvino`` starts a child that asks for an analytics host and writes into the home,
and NNCF and the tools around ONNX import the two. Whoever needs one of them asks here, so that the
reports are off in the whole process before the first of them is loaded.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from samedge import _cache

_OPENVINO_REPORTER = "openvino_telemetry"
_MESSAGES = ("start_session", "send_event", "send_error", "send_stack_trace", "end_session")
_SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # read when ONNX Runtime's library is loaded
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub comes with timm
    "RAY_USAGE_STATS_ENABLED": "0",
}


def library(name: str) -> Any:
    """Import a library, or a module inside one, with the reports of all of them off.

    Args:
        name: dotted, such as ``"onnxruntime"`` or ``"onnxruntime.quantization"``.

    Raises:
        ImportError: it is not installed, or is broken in its own way.
    """
    silence_reports()
    module = importlib.import_module(name)
    silence_reports()
    return module


def silence_reports() -> None:
    """Turn the reports of every such library off, loaded or not. Children inherit most of it."""
    for variable, value in _SWITCHES.items():
        os.environ[variable] = value
    _silence_openvino()
    loaded = sys.modules.get("onnxruntime")
    if loaded is not None and hasattr(loaded, "disable_telemetry_events"):
        loaded.disable_telemetry_events()  # a program may have loaded it before the switch was set


def keep_fonts_in_cache() -> None:
    """Have matplotlib keep its list of fonts in samedge's cache: the home is the user's.

    To be called before matplotlib is imported. A folder that the user has named stays.
    """
    os.environ.setdefault("MPLCONFIGDIR", os.fspath(_cache.cache_folder("matplotlib")))


def _silence_openvino() -> None:
    """OpenVINO and NNCF do without the package that reports where it cannot be imported.

    Its only other switches are a file in the user's home, which is not ours, and ``CI=true``, which
    would change what other programs do.
    """
    reporter = sys.modules.get(_OPENVINO_REPORTER)
    if reporter is None:
        sys.modules[_OPENVINO_REPORTER] = None  # type: ignore[assignment]  # "cannot be imported"
    else:
        for name in _MESSAGES:  # a program has loaded it before us
            setattr(reporter.Telemetry, name, _send_nothing)


def _send_nothing(*arguments: object, **named: object) -> None:
    del arguments, named
