"""Plug-ins by file name: `_name.py` in a package, exposing one well-known object.

Listing reads file names only; nothing is imported until a plug-in is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samedge.errors import BackendUnavailableError, UnknownNameError

if TYPE_CHECKING:
    import ast

_HOME = Path(__file__).parent


def check_unpacked() -> None:
    """Refuse to run where plug-ins and models cannot be read as files.

    Raises:
        BackendUnavailableError: samedge lies in a zip.
    """
    if not _HOME.is_dir():
        raise BackendUnavailableError(
            f"samedge runs from {_HOME}, which is no folder: its plug-ins and models are files and "
            "cannot be read inside of a zip. Unpack it, by `pip install samedge --target FOLDER` "
            "and PYTHONPATH=FOLDER, or freeze the program with PyInstaller, which samedge has a "
            "hook for."
        )


@cache
def names(package: str) -> tuple[str, ...]:
    """Names of the plug-ins in ``package``, sorted: its modules that start with one underscore.

    A package that starts with one, such as ``samedge.models._decoders``, is no plug-in but holds
    some.

    Raises:
        BackendUnavailableError: samedge lies in a zip.
    """
    check_unpacked()
    files = _HOME.joinpath(*package.split(".")[1:]).iterdir()
    modules = (path.stem for path in files if path.suffix == ".py")
    return tuple(sorted(m[1:] for m in modules if m.startswith("_") and not m.startswith("__")))


def load(package: str, name: str, *, attribute: str) -> Any:
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


@cache
def declared(attribute: str) -> tuple[str, ...]:
    """What the plug-ins of all kinds declare under one name together, sorted; none is imported.

    Args:
        attribute: a name that plug-ins assign a literal tuple of strings to, such as
            ``"packages"``.
    """
    import ast

    found: set[str] = set()
    for path in _HOME.glob("*/**/_*.py"):
        if path.name != "__init__.py":
            found.update(*_literals(ast.parse(path.read_bytes()), attribute))
    return tuple(sorted(found))


def _literals(tree: ast.AST, attribute: str) -> Iterator[tuple[str, ...]]:
    import ast

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and node.value is not None:
            named = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if attribute in named:
                yield ast.literal_eval(node.value)
