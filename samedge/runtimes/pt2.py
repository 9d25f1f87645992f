"""Looks into a ``.pt2`` archive before torch does, and refuses what could run foreign code.

``torch.export.load`` unpickles what an archive marks as pickled, retries an unsafe unpickling when
the safe one fails, resolves any dotted name below ``torch`` as an operator and evaluates shape
expressions as Python (torch's own documentation warns of it). A graph that samedge exported needs
none of this: plain tensors, ATen operators, and sums and products of symbols.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from samedge.errors import IncompatibleArtifactError

_MEMBER = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json"
    r"|archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
)
_ARITHMETIC = "add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|getitem"
_OPERATOR = re.compile(
    rf"torch\.ops\.aten\.\w+\.\w+|_operator\.({_ARITHMETIC})|torch\.sym_\w+|math\.(floor|ceil|trunc)"
)
_WORD = re.compile(r"[A-Za-z_]\w*")
_KNOWN_WORD = re.compile(
    r"Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilToInt"
    r"|Eq|Ne|StrictLessThan|StrictGreaterThan|LessThan|GreaterThan|And|Or|Not"
    r"|integer|positive|nonnegative|nonzero|real|True|False"
)


def refuse_code(archive: Path) -> None:
    """Check that loading ``archive`` runs nothing but torch's own operators.

    Raises:
        IncompatibleArtifactError: it holds a pickle, native code, an operator that is not ATen's,
            or an expression that is more than arithmetic.
    """
    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
        roots = {PurePosixPath(name).parts[0] for name in names}
        if len(roots) != 1:
            raise _refusal(archive, f"has {len(roots)} folders at its top, expected one")
        root = roots.pop()
        for name in names:
            if not _MEMBER.fullmatch(name.removeprefix(f"{root}/")):
                raise _refusal(archive, f"holds {name}, which no exported graph needs")
        if len(set(names)) != len(names):  # Python would read the last of them, torch the first
            raise _refusal(archive, "holds a member twice")
        for name in names:
            if name.endswith(".json"):
                _check_document(archive, json.loads(content.read(name)))
            elif name.endswith("model.pt"):
                _check_pickle(archive, content.read(name))


def _check_document(archive: Path, document: Any) -> None:
    for key, value in _items(document):
        if key == "use_pickle" and value is not False:
            raise _refusal(archive, "holds pickled tensors")
        if key == "target" and not _OPERATOR.fullmatch(str(value)):
            raise _refusal(archive, f"calls {value}, which is not an ATen operator")
        if key == "expr_str" and not _is_arithmetic(str(value)):
            raise _refusal(archive, f"has the expression {value!r}, more than arithmetic")
        if key == "treespec_namedtuple_fields" and value:
            raise _refusal(archive, "returns named tuples, expected a dict of tensors")


def _items(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a JSON document, at any depth."""
    pending = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield from node.items()
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _is_arithmetic(expression: str) -> bool:
    """Whether an expression is made of known words, symbols, numbers and arithmetic alone."""
    bare = re.sub(r"'[su]\d+'|\b[su]\d+\b|\b\d+(\.\d+)?\b", "0", expression)
    return all(map(_KNOWN_WORD.fullmatch, _WORD.findall(bare))) and bool(
        re.fullmatch(r"[\w\s+\-*/(),=<>&|~]*", bare)
    )


def _check_pickle(archive: Path, data: bytes) -> None:
    import torch

    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:  # noqa: BLE001 - a pickle fails in its own ways
        raise _refusal(
            archive, f"has example inputs that are not plain tensors ({error})"
        ) from None


def _refusal(archive: Path, reason: str) -> IncompatibleArtifactError:
    return IncompatibleArtifactError(
        f"{archive.name} {reason}; opening it could run foreign code. Export the graph again with "
        "samedge, or use a bundle for another backend."
    )
