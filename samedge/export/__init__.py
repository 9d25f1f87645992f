"""Models to bundles: graphs written in a platform's format, compared with their model, packed.

    from samedge.export import export

    result = export("samedge-nano", "intel", output="out/intel")

Public names are resolved when they are first used, because exporting needs torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from samedge.errors import BackendUnavailableError

if TYPE_CHECKING:
    from samedge.export.base import ExportResult
    from samedge.export.pipeline import export

__all__ = ["ExportResult", "export"]

_HOMES = {"ExportResult": "samedge.export.base", "export": "samedge.export.pipeline"}


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'samedge.export' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            f"Exporting needs {error.name}, which is not installed: pip install 'samedge[export]'"
        ) from error
    globals()[name] = value
    return value
