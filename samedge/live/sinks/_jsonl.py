"""JSON lines: one document a frame, as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from samedge.live.sinks.base import Drawn, Recording, Sink, frame_record


class _Lines(Recording):
    """Opens its file with the first frame: a run that follows nothing leaves an older one be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[bytes] | None = None
        self._encoder = msgspec.json.Encoder()

    def write(self, drawn: Drawn) -> None:
        if self._stream is None:
            self._stream = self._path.open("wb")
        self._stream.write(self._encoder.encode(frame_record(drawn.followed)) + b"\n")
        self._stream.flush()  # a reader that follows the file sees whole lines

    def close(self) -> None:
        """Let go of the file."""
        if self._stream is not None:
            self._stream.close()


class Jsonl(Sink):
    """Lines that can be read while they are written."""

    endings = (".jsonl", ".ndjson")

    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        """See :meth:`Sink.open`. What was written before stays when the disk is full."""
        del fps
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(_Lines(path)) as lines:
            yield lines


SINK = Jsonl()
