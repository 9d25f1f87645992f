"""Attributes of a converted program against torch's own graph.

A wrong GELU mode changes an embedding by less than fp16 rounding does, so no parity gate sees it,
and converters do get it wrong: coremltools 9.0 ignores ``approximate="tanh"`` on the torch.export
route. What was asked for and what was written are therefore compared as text.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from samedge.errors import ExportError
from samedge.runtimes.mil.program import Constant, Function, Operation, Reference

_GELU_MODES = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
_WITH_EPSILON = ("layer_norm", "batch_norm", "instance_norm", "inverse")


def gelu_modes(exported: Any) -> collections.Counter[str]:
    """MIL's names of the GELU modes in a ``torch.export.ExportedProgram``, with their number."""
    modes: collections.Counter[str] = collections.Counter()
    for node in exported.graph.nodes:
        if node.op == "call_function" and str(node.target) == "aten.gelu.default":
            modes[_GELU_MODES[node.kwargs.get("approximate", "none")]] += 1
    return modes


def _numbers(exported: Any) -> set[float]:
    """Every float that stands in torch's graph: the epsilons are among them."""
    found = set()
    for node in exported.graph.nodes:
        for argument in (*node.args, *node.kwargs.values()):
            if isinstance(argument, float):
                found.add(argument)
    return found


def _constant(function: Function, operation: Operation, parameter: str) -> Any:
    (argument,) = operation.inputs[parameter]
    if isinstance(argument, Reference):
        argument = function.constants()[argument.name]
    assert isinstance(argument, Constant)
    return argument.load()


def _written_modes(function: Function) -> collections.Counter[str]:
    gelus = [op for op in function.operations if op.kind == "gelu"]
    return collections.Counter(str(_constant(function, op, "mode")) for op in gelus)


def _is_scale_and_shift(function: Function, operation: Operation) -> bool:
    """Whether a batch norm is coremltools' own spelling of a product and a sum."""
    if operation.kind != "batch_norm":
        return False
    mean, variance = (_constant(function, operation, name) for name in ("mean", "variance"))
    return bool(np.all(mean == 0) and np.all(variance == 1))


def _foreign_epsilons(function: Function, known: Iterable[float]) -> list[str]:
    """Operations whose epsilon stands nowhere in torch's graph.

    MIL gives ``inverse`` an epsilon of 1e-4 if nobody names another, and torch's has none. Those of
    ``rsqrt`` and ``log`` are too small to tell.
    """
    rounded = {float(np.float16(value)) for value in known} | set(known)
    foreign = []
    for operation in function.operations:
        if operation.kind in _WITH_EPSILON and not _is_scale_and_shift(function, operation):
            epsilon = float(_constant(function, operation, "epsilon"))
            if not any(math.isclose(epsilon, value, rel_tol=1e-3) for value in rounded):
                foreign.append(f"{operation.kind} {operation.name!r} has epsilon {epsilon:g}")
    return foreign


def check_attributes(
    function: Function, exported: Any, *, wanted_modes: collections.Counter[str]
) -> None:
    """Compare GELU modes and epsilons of a package with the graph it was made from.

    Args:
        function: as read back from the saved package.
        exported: torch's program, as it was given to the converter.
        wanted_modes: ``gelu_modes`` of the program before anything was decomposed.

    Raises:
        ExportError: an attribute differs; the message names it.
    """
    problems = _foreign_epsilons(function, _numbers(exported))
    written = _written_modes(function)
    for mode in wanted_modes | written:
        if wanted_modes[mode] != written[mode]:
            problems.append(
                f"{written[mode]} gelu operations are {mode}, expected {wanted_modes[mode]}"
            )
    if problems:
        raise ExportError(
            f"Core ML conversion changed the model: {'; '.join(problems)}. "
            "Report this with the model's name; another coremltools version may be right."
        )
