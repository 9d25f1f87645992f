"""What a request may set of Core ML packages, read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from samedge.calibration.plan import PrecisionPlan
from samedge.errors import ExportError, UnknownNameError
from samedge.pixels.prompts import Bucket
from samedge.types import Precision

MinimumOs = Literal["iOS16", "iOS17", "iOS18"]
"""Oldest system that opens the package: iOS 16 goes with macOS 13, 17 with 14, 18 with 15."""

HELP: Mapping[str, str] = MappingProxyType(
    {
        "minimum-os": "iOS16, iOS17, iOS18, macOS13, macOS14 or macOS15: the oldest that opens it",
        "points": "sizes of prompts, such as 3,11: the decoder takes any of them",
        "prompts": "inside, or apart: the arithmetic on points in a package of its own",
        "package": "each, or one: all graphs as functions of one package (iOS18)",
    }
)
_SYSTEMS: Mapping[str, MinimumOs] = MappingProxyType(
    {
        "iOS16": "iOS16",
        "iOS17": "iOS17",
        "iOS18": "iOS18",
        "macOS13": "iOS16",
        "macOS14": "iOS17",
        "macOS15": "iOS18",
    }
)
_VERSION: Mapping[str, int] = MappingProxyType({"iOS16": 16, "iOS17": 17, "iOS18": 18})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """How packages are cut and whom they are for.

    Attributes:
        minimum_os: oldest system that opens them.
        buckets: ``(B, N)`` of the decoder, rising; the last is the default shape.
        is_apart: whether points have a package of their own.
        is_one: whether all graphs are functions of one package.
    """

    minimum_os: MinimumOs
    buckets: tuple[Bucket, ...]
    is_apart: bool
    is_one: bool


def read_layout(
    options: Mapping[str, str], buckets: tuple[Bucket, ...], plan: PrecisionPlan
) -> Layout:
    """Read a request's options.

    Args:
        options: by name, of :data:`HELP`.
        buckets: the decoder's shapes where ``points`` is not given.
        plan: what the weights are stored in.

    Raises:
        UnknownNameError: an unknown value.
        ExportError: values that do not go together.
    """
    is_apart = _choice(options, "prompts", ("inside", "apart")) == "apart"
    is_one = _choice(options, "package", ("each", "one")) == "one"
    sizes = _sizes(options, buckets)
    needs = {"the precision w4": Precision.W4 in plan.precisions, "package=one": is_one}
    if len(sizes) > 1:
        needs["several sizes of prompts"] = True
    reasons = [name for name, needed in needs.items() if needed]
    least: MinimumOs = "iOS18" if reasons else "iOS17"
    wish = options.get("minimum-os")
    if wish is None:
        return Layout(minimum_os=least, buckets=sizes, is_apart=is_apart, is_one=is_one)
    if wish not in _SYSTEMS:
        raise UnknownNameError("system", wish, _SYSTEMS)
    chosen = _SYSTEMS[wish]
    if not reasons and Precision.INT8 not in plan.precisions:
        least = "iOS16"
    if _VERSION[chosen] < _VERSION[least]:
        why = ", ".join(reasons) or "the precision int8"
        raise ExportError(f"{wish} cannot open what is asked for: {why} needs {least} or later.")
    return Layout(minimum_os=chosen, buckets=sizes, is_apart=is_apart, is_one=is_one)


def _choice(options: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    value = options.get(name, values[0])
    if value not in values:
        raise UnknownNameError(f"value of option {name}", value, values)
    return value


def _sizes(options: Mapping[str, str], buckets: tuple[Bucket, ...]) -> tuple[Bucket, ...]:
    text = options.get("points")
    if text is not None:
        parts = text.split(",")
        if not all(part.strip().isdecimal() and int(part) >= 2 for part in parts):
            raise ExportError(
                f"Option points is {text!r}, expected numbers of at least 2, such as 3,11: a box "
                "takes two points."
            )
        buckets = tuple((1, size) for size in sorted({int(part) for part in parts}))
    if not buckets:
        raise ExportError(
            "Core ML decoders have fixed shapes, and no prompt bucket was given: "
            "leave the target's own, or give one such as (1, 11)."
        )
    if len({batch for batch, _ in buckets}) > 1:
        raise ExportError(f"The buckets {buckets} differ in prompts; only points may vary.")
    return tuple(sorted(buckets))
