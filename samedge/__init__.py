"""Deploy Segment Anything on edge devices: a model goes in, a folder for a named device comes out.

    import samedge

    with samedge.Predictor.from_bundle("out/intel") as predictor:
        embedding = predictor.encode(image)
        result = predictor.decode(embedding, samedge.Prompt(points=[[x, y]]))

Public names are resolved when they are first used, so that ``import samedge`` costs milliseconds
and loads no backend.
"""

from __future__ import annotations

from samedge._version import __version__

TYPE_CHECKING = False  # as of typing, whose import costs half as much as starting Python
if TYPE_CHECKING:
    from typing import Any

    from samedge.benchmark.named import bench
    from samedge.bundle.bundle import Bundle
    from samedge.comparison.named import compare
    from samedge.errors import SamedgeError
    from samedge.evaluation.named import evaluate
    from samedge.export.named import export_bundle
    from samedge.formats.results import Masks
    from samedge.live.camera import Camera
    from samedge.pixels.images import image_from_bgr, image_from_tensor, load_image
    from samedge.pixels.layouts import image_from_yuv
    from samedge.predict.embedding import ImageEmbedding
    from samedge.predict.everything import AutomaticMask, EverythingConfig, segment_everything
    from samedge.predict.everything_tiles import segment_in_tiles
    from samedge.predict.pool import PredictorPool
    from samedge.predict.words.predictor import Predictor, load_default
    from samedge.runtimes.deadline import time_limit
    from samedge.tracking.tracker import Tracker
    from samedge.types import Precision, Prompt
    from samedge.web.client import Client

__all__ = [
    "AutomaticMask",
    "Bundle",
    "Camera",
    "Client",
    "EverythingConfig",
    "ImageEmbedding",
    "Masks",
    "Precision",
    "Predictor",
    "PredictorPool",
    "Prompt",
    "SamedgeError",
    "Tracker",
    "__version__",
    "bench",
    "compare",
    "evaluate",
    "export_bundle",
    "image_from_bgr",
    "image_from_tensor",
    "image_from_yuv",
    "load_default",
    "load_image",
    "segment_everything",
    "segment_in_tiles",
    "time_limit",
]

_HOMES = {
    "AutomaticMask": "samedge.predict.everything",
    "Bundle": "samedge.bundle.bundle",
    "Camera": "samedge.live.camera",
    "Client": "samedge.web.client",
    "EverythingConfig": "samedge.predict.everything",
    "ImageEmbedding": "samedge.predict.embedding",
    "Masks": "samedge.formats.results",
    "Precision": "samedge.types",
    "Predictor": "samedge.predict.words.predictor",
    "PredictorPool": "samedge.predict.pool",
    "Prompt": "samedge.types",
    "SamedgeError": "samedge.errors",
    "Tracker": "samedge.tracking.tracker",
    "bench": "samedge.benchmark.named",
    "compare": "samedge.comparison.named",
    "evaluate": "samedge.evaluation.named",
    "export_bundle": "samedge.export.named",
    "image_from_bgr": "samedge.pixels.images",
    "image_from_tensor": "samedge.pixels.images",
    "image_from_yuv": "samedge.pixels.layouts",
    "load_default": "samedge.predict.words.predictor",
    "load_image": "samedge.pixels.images",
    "segment_everything": "samedge.predict.everything",
    "segment_in_tiles": "samedge.predict.everything_tiles",
    "time_limit": "samedge.runtimes.deadline",
}


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'samedge' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
