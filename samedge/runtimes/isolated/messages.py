"""What this process and the one that runs the graphs tell each other, and how it gets through.

A message is a length, a head in MessagePack, and the bytes of its arrays one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import IO, Literal

import msgspec
import numpy as np

from samedge.runtimes.base import Array, Probe, TensorSpec
from samedge.types import Options

Asked = Literal["open", "prepare", "files", "reads"]
"""What is asked about a graph's file."""


class TensorHead(msgspec.Struct, frozen=True):
    """What the bytes of an array are."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Look(msgspec.Struct, frozen=True, tag=True):
    """Probe the backend."""


class Build(msgspec.Struct, frozen=True, tag=True):
    """Ask the backend for its build on a device."""

    device: str


class Opening(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What to do about a graph's file; the arguments are those of ``Backend.open``.

    Attributes:
        what: ``open`` it, ``prepare`` it, list the ``files`` that it was compiled to, or those
            that opening it ``reads``.
    """

    what: Asked
    model: str
    device: str | None = None
    options: Options = {}
    shapes: list[dict[str, tuple[int, ...]]] = []


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run an opened graph on the arrays that follow."""

    session: int
    tensors: list[TensorHead]


class Close(msgspec.Struct, frozen=True, tag=True):
    """Close an opened graph."""

    session: int


Order = Look | Build | Opening | Run | Close


class Found(msgspec.Struct, frozen=True, tag=True):
    """The answer to :class:`Look`."""

    probe: Probe


class Words(msgspec.Struct, frozen=True, tag=True):
    """The answer where that is text, or nothing."""

    words: list[str] = []


class Opened(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A graph that is open."""

    session: int
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    device: str
    residency: dict[str, float] = {}


class Ran(msgspec.Struct, frozen=True, tag=True):
    """The results' arrays follow."""

    tensors: list[TensorHead]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An error of samedge, by the name of its class."""

    kind: str
    message: str


Answer = Found | Words | Opened | Ran | Failed


def heads(arrays: Mapping[str, Array]) -> list[TensorHead]:
    """What :func:`send` sends of arrays, in their order."""
    return [TensorHead(name, a.dtype.name, a.shape) for name, a in arrays.items()]


def send(stream: IO[bytes], message: Order | Answer, *, arrays: Mapping[str, Array]) -> None:
    """Write one message.

    Args:
        stream: the pipe.
        message: its ``tensors`` are the heads of ``arrays``, where it has some.
        arrays: what follows it.
    """
    head = msgspec.msgpack.encode(message)
    stream.write(len(head).to_bytes(8, "little") + head)
    for array in arrays.values():
        stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    stream.flush()


def received(stream: IO[bytes]) -> bytes | None:
    """The head of the next message; ``None`` where the other side has ended."""
    size = stream.read(8)
    if len(size) < 8:
        return None
    length = int.from_bytes(size, "little")
    head = stream.read(length)
    return head if len(head) == length else None


def received_arrays(stream: IO[bytes], tensors: list[TensorHead]) -> dict[str, Array] | None:
    """The arrays that follow a message; ``None`` where the other side has ended."""
    arrays = {}
    for head in tensors:
        dtype = np.dtype(head.dtype)
        data = bytearray(math.prod(head.shape) * dtype.itemsize)
        view, done = memoryview(data), 0
        while done < len(data):
            count = stream.readinto(view[done:])  # type: ignore[attr-defined]  # of pipes
            if not count:
                return None
            done += count
        arrays[head.name] = np.frombuffer(data, dtype).reshape(head.shape)
    return arrays
