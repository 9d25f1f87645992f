"""How near an fp16 program comes to the largest fp16 number, operation by operation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import cast

from torch import Tensor

from samedge.runtimes.mil.interpreter import Interpreter
from samedge.runtimes.mil.ops.arguments import Value, integers
from samedge.runtimes.mil.program import Operation

FP16_MAX = 65504.0


@dataclasses.dataclass(frozen=True, slots=True)
class OverflowRisk:
    """What one operation reached.

    Attributes:
        kind: MIL's name of the operation.
        output: name of its first result.
        peak: largest magnitude in the result, before rounding.
        internal_peak: largest sum of squares that the operation needs on its way, 0 where it has
            none; a device that accumulates in fp16 overflows there first.
        headroom: 65504 over the larger of the two; below 1 the operation overflows.
    """

    kind: str
    output: str
    peak: float
    internal_peak: float

    @property
    def headroom(self) -> float:
        """How many times larger the operation's numbers could be before fp16 overflows."""
        return FP16_MAX / max(self.peak, self.internal_peak, 1e-30)


def _layer_norm_sum(arguments: Mapping[str, Value]) -> float:
    x = cast("Tensor", arguments["x"])
    axes = arguments.get("axes")
    places = tuple(integers(axes)) if isinstance(axes, Tensor) else tuple(range(x.ndim))
    centered = x - x.mean(dim=places, keepdim=True)
    return float(centered.square().sum(dim=places).max())


def _square_sum(arguments: Mapping[str, Value]) -> float:
    x = cast("Tensor", arguments["x"])
    axes = arguments.get("axes")
    places = tuple(integers(axes)) if isinstance(axes, Tensor) else tuple(range(x.ndim))
    return float(x.square().sum(dim=places).max())


_INTERNAL: dict[str, Callable[[Mapping[str, Value]], float]] = {
    "layer_norm": _layer_norm_sum,
    "reduce_l2_norm": _square_sum,
}


def measure_overflow(
    interpreter: Interpreter, feeds: Mapping[str, Tensor]
) -> tuple[OverflowRisk, ...]:
    """Run once and report every operation with a float result, the riskiest first.

    Nothing is rounded in this run, so that an overflow is told from what follows of it.
    """
    risks: list[OverflowRisk] = []

    def observe(operation: Operation, arguments: Mapping[str, Value], result: Tensor) -> None:
        internal = _INTERNAL.get(operation.kind)
        risks.append(
            OverflowRisk(
                kind=operation.kind,
                output=operation.outputs[0][0],
                peak=float(result.abs().max()) if result.numel() else 0.0,
                internal_peak=internal(arguments) if internal else 0.0,
            )
        )

    interpreter.run(feeds, observe=observe, rounded=False)
    return tuple(sorted(risks, key=lambda risk: risk.headroom))
