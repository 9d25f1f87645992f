"""JSON lines: one document a frame, as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from samedge.live.sinks.base import Drawn, Recording, Sink, frame_record


class _Lines(Recording):
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._encoder = msgspec.json.Encoder()

    def write(self, drawn: Drawn) -> None:
        self._stream.write(self._encoder.encode(frame_record(drawn.followed)) + b"\n")
        self._stream.flush()  # a reader that follows the file sees whole lines


class Jsonl(Sink):
    """Lines that can be read while they are written."""

    endings = (".jsonl", ".ndjson")

    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        """See :meth:`Sink.open`. What was written before stays when the disk is full."""
        del fps
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            yield _Lines(stream)


SINK = Jsonl()
