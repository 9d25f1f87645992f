"""What docs/json.md tells of each command's document."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import inspect

PAGE = Path(__file__).parents[2] / "docs" / "json.md"

_HEAD = {"schema", "samedge_version", "created"}
_FREE = {"packages", "skipped", "failed", "jf_by_video", "shares", "dropped_by", "measured"}
_FREE |= {"lost", "changed", "left_out", "operations", "rle", "truth"}
"""Fields whose own names are data, or stand at the page's beginning."""
_MANIFEST = {("inspect", "bundle")}
_ALSO = {"everything": ("segment",), "bench": ("eval",), "eval": ("bench",)}
"""Sections that another one refers to: bench's environment stands in eval, too."""


@functools.cache
def sections() -> Mapping[str, str]:
    """The text of the page by command; of ``error`` as well."""
    found: dict[str, str] = {}
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        found |= dict.fromkeys(heading.split(", "), text)
    return {**found, "error": found["Errors"]}


def untold(command: str, document: object) -> list[str]:
    """Paths of a document's fields that its section does not name.

    Args:
        command: whose section it is.
        document: plain values, or a pattern of them.
    """
    text = " ".join(sections()[name] for name in (command, *_ALSO.get(command, ())))
    told = _HEAD | set(re.findall(r"\w+", text))
    return sorted({path for path, name in _fields(command, document) if name not in told})


def _fields(command: str, value: object, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            path = f"{where}.{name}".lstrip(".")
            yield path, str(name)
            if name not in _FREE and (command, name) not in _MANIFEST:
                yield from _fields(command, inner, path)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _fields(command, inner, f"{where}[]")


def pattern(info: object) -> object:
    """Plain values with all fields that a record may have.

    Args:
        info: what :func:`msgspec.inspect.type_info` says of it.
    """
    if isinstance(info, inspect.StructType | inspect.DataclassType):
        return {field.encode_name: pattern(field.type) for field in info.fields}
    if isinstance(info, inspect.ListType | inspect.VarTupleType):
        return [pattern(info.item_type)]
    if isinstance(info, inspect.UnionType):
        return [pattern(one) for one in info.types]
    return [pattern(one) for one in info.item_types] if isinstance(info, inspect.TupleType) else []
