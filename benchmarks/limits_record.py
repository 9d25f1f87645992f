"""The record that ``limits.py`` writes and its page is made of."""

from __future__ import annotations

import msgspec

from samedge.records.machine import Environment


class Peak(msgspec.Struct, frozen=True):
    """What the processor reaches at most.

    Attributes:
        name: a precision, for the matrix product; or ``copy``.
        n: samples.
        p50_ms: of one product, or one copy.
        per_second: operations, or bytes read and written.
    """

    name: str
    n: int
    p50_ms: float
    per_second: int


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of one subject, on one picture and one click.

    Attributes:
        subject: model, precision and backend.
        stage: its name.
        n: samples.
        p50_ms: median; ``low_ms`` and ``high_ms`` are its 95% interval.
        operations: of the graph's products; ``None`` where a stage has none or they are not known.
        bytes_moved: weights, inputs and outputs, each once.
        share_of_product: of the product's rate in the subject's precision.
        share_of_copy: of the copy's rate.
        floor_ms: the longer of both at full rate.
    """

    subject: str
    stage: str
    n: int
    p50_ms: float
    low_ms: float
    high_ms: float
    operations: int | None
    operations_per_second: int | None
    bytes_moved: int
    bytes_per_second: int
    share_of_product: float | None
    share_of_copy: float
    floor_ms: float


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """How a cost grows.

    Attributes:
        over: what is varied: ``pixels`` (megapixels of the picture), ``prompts``, ``objects`` or
            ``threads``.
        subject: model, precision and backend.
        stage: what is timed.
        points: ``(x, median ms)``.
        slope: ms for one more, by least squares; over threads the exponent of a power, -1 where
            twice the threads take half the time. ``low`` and ``high`` are its 95% interval.
        offset: ms at 0; over threads the logarithm of ms with one.
    """

    over: str
    subject: str
    stage: str
    points: list[tuple[float, float]]
    slope: float
    low: float
    high: float
    offset: float


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The document."""

    benchmark: str
    created: str
    samedge_version: str
    command: str
    environment: Environment
    frame: str
    side: int
    peaks: list[Peak]
    stages: list[StageRow]
    curves: list[Curve]
