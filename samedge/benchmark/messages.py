"""What the measuring process is asked, and what it answers: one JSON document a line."""

from __future__ import annotations

import msgspec

from samedge.records import OpenedSubject

Point = tuple[float, float]


class Open(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    """Load a subject and segment for the first time.

    Attributes:
        factory: ``module:function`` that opens it; is called with the bundle and the keywords
            ``backend``, ``device`` and ``threads``, and returns a context manager of a predictor
            and a ``records.OpenedSubject``.
        bundle: its path; ``None`` is the embedded model.
        backend, device, threads: ``None`` leaves them to the bundle and to the backend.
        image: file to segment.
        point: of the first prompt, as shares of width and height.
    """

    factory: str
    bundle: str | None
    backend: str | None
    device: str | None
    threads: int | None
    image: str
    point: Point


class Block(msgspec.Struct, frozen=True, kw_only=True, tag="block"):
    """Segment one image with rotating prompts until both the time and the count are reached."""

    image: str
    points: list[Point]
    seconds: float
    count: int


class Rate(msgspec.Struct, frozen=True, kw_only=True, tag="rate"):
    """Time whole frames that are asked all of ``points`` at once, one prompt each."""

    image: str
    points: list[Point]
    seconds: float
    count: int


class Sustain(msgspec.Struct, frozen=True, kw_only=True, tag="sustain"):
    """Segment one image without a pause for so long."""

    image: str
    points: list[Point]
    seconds: float


class Close(msgspec.Struct, frozen=True, kw_only=True, tag="close"):
    """Release the subject."""


Request = Open | Block | Rate | Sustain | Close


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """Milliseconds of the load and of the first mask, and what was opened."""

    load: float
    first: float
    subject: OpenedSubject


class Measured(msgspec.Struct, frozen=True, kw_only=True, tag="measured"):
    """Milliseconds by stage, and the machine's state at the end of the block."""

    samples: dict[str, list[float]]
    frequency_mhz: int | None
    throttled: list[str]


class Rated(msgspec.Struct, frozen=True, kw_only=True, tag="rated"):
    """Milliseconds of whole frames."""

    samples: list[float]


class Sustained(msgspec.Struct, frozen=True, kw_only=True, tag="sustained"):
    """``(seconds since the start, milliseconds)`` of every frame."""

    series: list[tuple[float, float]]


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag="closed"):
    """Most resident memory of the process; ``None`` where the system does not tell."""

    peak_rss_bytes: int | None


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """An error of samedge: its class and its message."""

    kind: str
    message: str


Reply = Opened | Measured | Rated | Sustained | Closed | Failed
