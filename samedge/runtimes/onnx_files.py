"""Which other files an ONNX file makes its reader open, found without the onnx package.

Only the few fields of ONNX's protobuf that lead to such names are followed (onnx.proto3 of ONNX
1.21); everything else is skipped by its length. Where the format lets a later value win over an
earlier one, both count.
"""

from __future__ import annotations

import functools
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from samedge import _cache
from samedge.errors import InferenceError

_MODEL, _GRAPH, _NODE, _ATTRIBUTE = "model", "graph", "node", "attribute"
_TENSOR, _SPARSE, _FUNCTION, _TRAINING, _ENTRY = "tensor", "sparse", "function", "training", "entry"
_INSIDE: Mapping[str, Mapping[int, str]] = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _FUNCTION: {7: _NODE},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {13: _ENTRY},
    _ENTRY: {},
}
"""Fields that hold messages of interest, by message."""

_OPERATOR = 4  # of a node
_KEY, _VALUE = 1, 2  # of an entry
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10
_LOCATION = b"location"  # the key of an entry that names a file
_FOREIGN = b"EPContext"  # a node that stands for a program in another file or in itself


class _MalformedError(Exception):
    """Not protobuf."""


def external_files(model: Path) -> tuple[str, ...]:
    """Names of the files beside an ONNX file that hold its tensors, sorted.

    Args:
        model: the ``.onnx`` file.

    Raises:
        InferenceError: it cannot be read, may name files and is no protobuf, or holds a compiled
            program, which a library would run unseen.
    """
    try:
        return _found(model, _cache.file_facts(model))
    except (OSError, _MalformedError) as error:
        raise InferenceError(
            f"{model} cannot be read as an ONNX file ({error}): export it again."
        ) from error


@functools.lru_cache(maxsize=64)
def _found(model: Path, stamp: tuple[object, ...]) -> tuple[str, ...]:
    """The same, once for each state of a file: opening a bundle asks several times."""
    del stamp
    with model.open("rb") as stream:
        if not stream.seek(0, 2):
            return ()
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return tuple(sorted(set(_locations(data))))


def _may_lead(node: bytes) -> bool:
    """Whether a node can name a file: the words for it lie in it as they are, however deep.

    Hardly any does, and looking for two words takes a small part of following the fields.
    """
    return _LOCATION in node or _FOREIGN in node


def _locations(data: mmap.mmap) -> Iterator[str]:
    pending = [(_MODEL, 0, len(data))]
    while pending:
        kind, start, end = pending.pop()
        keys: list[bytes] = []
        values: list[bytes] = []
        for field, begin, stop in _fields(data, start, end):
            inner = _INSIDE[kind].get(field)
            if inner is not None and (inner != _NODE or _may_lead(data[begin:stop])):
                pending.append((inner, begin, stop))
            elif kind == _ENTRY:
                (keys if field == _KEY else values).append(data[begin:stop])
            elif kind == _NODE and field == _OPERATOR and data[begin:stop] == _FOREIGN:
                raise _MalformedError("it holds a compiled program, an EPContext node")
        if _LOCATION in keys:
            yield from (value.decode("utf-8", "replace") for value in values)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of every field with a length in a message."""
    place = start
    while place < end:
        tag, place = _varint(data, place, end)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, place = _varint(data, place, end)
        elif wire in (_FIXED64, _FIXED32):
            place += 8 if wire == _FIXED64 else 4
        elif wire == _BYTES:
            length, place = _varint(data, place, end)
            if place + length > end:
                raise _MalformedError("a field is longer than what holds it")
            yield field, place, place + length
            place += length
        else:
            raise _MalformedError(f"wire type {wire} at byte {place}")
    if place != end:
        raise _MalformedError("a field is cut off")


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(_MOST_VARINT_BYTES):
        if place + index >= end:
            break
        byte = data[place + index]
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, place + index + 1
    raise _MalformedError(f"no number at byte {place}")
