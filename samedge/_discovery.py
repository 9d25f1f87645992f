"""Plug-ins by file name: `_name.py` in a package, exposing one well-known object.

Listing reads file names only; nothing is imported until a plug-in is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

from samedge.errors import UnknownNameError


@cache
def names(package: str) -> tuple[str, ...]:
    """Names of the plug-ins in ``package``, sorted: its modules that start with one underscore."""
    folder = Path(__file__).parent.joinpath(*package.split(".")[1:])
    modules = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return tuple(sorted(m[1:] for m in modules if m.startswith("_") and not m.startswith("__")))


def load(package: str, name: str, attribute: str) -> Any:
    """Import plug-in ``name`` of ``package`` and return its ``attribute``.

    Args:
        package: dotted name, such as ``"samedge.runtimes"``.
        name: the file's name without its underscore, such as ``"onnxruntime"``.
        attribute: what the file exposes, such as ``"BACKEND"``.

    Raises:
        UnknownNameError: there is no such file; the message lists the known names.
    """
    if name not in names(package):
        raise UnknownNameError(attribute.lower(), name, names(package))
    return getattr(importlib.import_module(f"{package}._{name}"), attribute)
