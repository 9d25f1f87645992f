r"""JSON as plain ASCII, so that it passes through any terminal, pipe and locale unharmed.

File names that are no UTF-8 come to Python with lone surrogates. They are escaped as ``\udcxx``,
which ``json.loads`` and ``os.fsencode`` turn back into the very same bytes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def json_text(document: object, *, indent: int = 0) -> str:
    """Encode a document of structs, dataclasses, mappings, lists, NumPy values and paths.

    A number that is not finite becomes null: it was not measured.

    Args:
        document: what to encode.
        indent: spaces a level; 0 puts all on one line.

    Raises:
        TypeError: something in it has no JSON.
    """
    import msgspec  # the help of a command needs none of it

    plain = builtins_from(document)
    try:
        text = json.dumps(plain, allow_nan=False)
    except ValueError:
        plain = _finite(plain)
        text = json.dumps(plain, allow_nan=False)
    if not indent:
        return text
    try:
        return msgspec.json.format(text, indent=indent)
    except msgspec.DecodeError:  # it refuses lone surrogates; Python's own is many times slower
        return json.dumps(plain, indent=indent)


def builtins_from(document: object) -> Any:
    """Structs, dataclasses, NumPy values and paths as Python's own types."""
    import msgspec

    return msgspec.to_builtins(document, enc_hook=_plain, str_keys=True)


def _plain(value: Any) -> Any:
    """What msgspec does not know: NumPy's scalars and arrays, and paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
