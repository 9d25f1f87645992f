"""``--precision auto``: the fastest precision that keeps the masks, never one slower than fp32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from samedge.proof.accuracy import Accuracy
from samedge.types import Precision

WORTH_IT = 0.97
"""Of fp32's latency: what is nearer to it is as fast, for all that can be told: fp32 is kept."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One precision that was tried.

    Attributes:
        precision: which.
        verdict: ``chosen``, or why it was not.
        total_ratio: median latency of encoder and decoder over fp32's; ``None``: not measured.
        size_ratio: bytes over fp32's.
        drop: mean IoU lost, over the kinds of prompts.
        accuracy: what is known of it: ``passed``, ``refused`` or ``undecided``.
    """

    precision: str
    verdict: str
    total_ratio: float | None = None
    size_ratio: float | None = None
    drop: float | None = None
    accuracy: str | None = None


def verdict(accuracy: Accuracy | None) -> str:
    """Why a precision that passed parity may not be used; empty when it may."""
    if accuracy is None:
        return "its accuracy could not be measured"
    if not accuracy.passed:
        return accuracy.summary
    if accuracy.total_ratio is not None and accuracy.total_ratio > WORTH_IT:
        return f"is not faster than fp32 here: {accuracy.total_ratio:.2f} of its latency"
    return ""


def row(precision: Precision, accuracy: Accuracy | None, *, why: str) -> Choice:
    """A line of the table."""
    if accuracy is None:
        return Choice(precision=precision.value, verdict=why)
    return Choice(
        precision=precision.value,
        verdict=why,
        total_ratio=accuracy.total_ratio,
        size_ratio=accuracy.size_ratio,
        drop=accuracy.drop,
        accuracy=accuracy.verdict,
    )


def fastest(rows: Sequence[Choice]) -> Precision:
    """The precision of the fastest row without an objection; fp32 where there is none.

    Rows without a latency, which only the device could tell, are taken in their order.
    """
    free = [r for r in rows if not r.verdict and r.drop is not None]
    if not free:
        return Precision.FP32
    return Precision(min(free, key=lambda r: r.total_ratio or 0.0).precision)


def table(rows: Sequence[Choice], chosen: Precision) -> list[dict[str, Any]]:
    """The rows for the manifest, fp32's own among them, with the chosen one marked."""
    is_timed = all(r.total_ratio is not None for r in rows if not r.verdict)
    base = Choice(
        precision="fp32",
        verdict="",
        total_ratio=1.0 if is_timed else None,
        size_ratio=1.0,
        drop=0.0,
    )
    other = "slower than the chosen one" if is_timed else "not the platform's first choice"
    marked = [
        msgspec.structs.replace(r, verdict="chosen")
        if r.precision == chosen.value
        else msgspec.structs.replace(r, verdict=r.verdict or other)
        for r in (*rows, base)
    ]
    builtins: list[dict[str, Any]] = msgspec.to_builtins(marked)
    return builtins
