"""What a capture process says to the process that started it: one JSON document a line."""

from __future__ import annotations

import msgspec


class Remarked(msgspec.Struct, frozen=True, tag=True):
    """What somebody should know about the source who takes it for whole."""

    message: str


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The source is open; its first frame is here."""

    height: int
    width: int


class Captured(msgspec.Struct, frozen=True, tag=True):
    """A frame lies in a slot of the shared memory.

    Attributes:
        slot: to be given back when its pixels are no longer needed.
        offset: of its first byte.
        number: frames that this process had captured before it.
        captured_s: on the system's monotonic clock.
        fingerprint: equal for equal pictures.
        brightness: mean of 0 to 255.
    """

    slot: int
    offset: int
    height: int
    width: int
    number: int
    captured_s: float
    pts_s: float | None
    fingerprint: int
    brightness: float


class Damaged(msgspec.Struct, frozen=True, tag=True):
    """A frame came that was no whole picture."""

    number: int
    captured_s: float


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The source has no more frames.

    Attributes:
        captured: how many it had.
    """

    captured: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The source cannot be opened or read on.

    Attributes:
        captured: frames before that.
        kind: name of the exception in ``samedge.errors``.
        message: what it said.
    """

    captured: int
    kind: str
    message: str


Message = Remarked | Opened | Captured | Damaged | Ended | Failed


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a capture process is asked to read.

    Attributes:
        source: name of the kind of source.
        spec: what the kind opens.
        paced: play a recording at its own pace.
        waits: wait for a free slot rather than drop a frame.
        options: ``ReadOptions`` as JSON.
        memory: file descriptor of the shared memory.
    """

    source: str
    spec: str
    paced: bool
    waits: bool
    options: msgspec.Raw
    memory: int


_DECODER = msgspec.json.Decoder(Message)


def decode(line: bytes) -> Message:
    """A message from its line."""
    message: Message = _DECODER.decode(line)
    return message
