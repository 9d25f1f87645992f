"""Executes one function of an ML program on the CPU, operation by operation.

Floats are computed in fp32. Where the program declares fp16, the result of an operation is rounded
to fp16 (and overflows as fp16 does) unless rounding is off; so a run shows what the stored types
cost, while the order of summation inside one operation stays that of the CPU.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from samedge.errors import InferenceError
from samedge.runtimes.mil.ops import operations
from samedge.runtimes.mil.ops.arguments import Value
from samedge.runtimes.mil.program import Argument, Constant, Function, Operation, TensorType

Array = npt.NDArray[Any]
Observer = Callable[[Operation, Mapping[str, Value], Tensor], None]
"""Called after an operation with its arguments and its (first) float result before rounding."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    operation: Operation
    function: Callable[..., Any]
    releases: tuple[str, ...]


def tensor_from_array(array: Array | str) -> Value:
    """A constant as operations take it: float32, int32 or bool tensor, or a string."""
    if isinstance(array, str):
        return array
    if array.dtype.kind == "f":
        return torch.from_numpy(np.array(array, np.float32))
    if array.dtype.kind == "b":
        return torch.from_numpy(np.array(array))
    return torch.from_numpy(np.array(array).astype(np.int32))


def unknown_operations(function: Function) -> dict[str, int]:
    """Kinds of operation that no module of ``ops/`` defines, with how often they occur."""
    known = operations()
    kinds = collections.Counter(op.kind for op in function.operations if op.kind != "const")
    blocks = {op.kind for op in function.operations if op.block_count}
    return {kind: n for kind, n in sorted(kinds.items()) if kind not in known or kind in blocks}


def conform(value: Tensor, declared: TensorType, *, where: str, rounded: bool) -> Tensor:
    """Give ``value`` its declared type, after checking its shape.

    Raises:
        InferenceError: the shape or the kind of element is not the declared one.
    """
    fits = value.ndim == len(declared.shape) and all(
        want is None or want == have for want, have in zip(declared.shape, value.shape, strict=True)
    )
    if not fits:
        raise InferenceError(
            f"{where} gives shape {tuple(value.shape)}, but the program declares {declared}: "
            "the package is inconsistent, export it again."
        )
    if value.is_floating_point() != declared.is_float:
        raise InferenceError(f"{where} gives {value.dtype}, but the program declares {declared}.")
    if rounded and declared.dtype == "float16":
        return value.half().float()
    if declared.dtype == "bool":
        return value.bool()
    return value


class Interpreter:
    """A function, ready to run.

    Constants are loaded and compressed ones unpacked once, here.

    Args:
        function: the function.
        rounded: whether results that the program declares as fp16 are rounded to fp16.

    Raises:
        InferenceError: the function has operations that are not known here; all are named.
    """

    def __init__(self, function: Function, *, rounded: bool) -> None:
        unknown = unknown_operations(function)
        if unknown:
            listing = ", ".join(f"{kind} ({count})" for kind, count in unknown.items())
            raise InferenceError(
                f"Function {function.name!r} uses operations that the mil backend does not know: "
                f"{listing}. Run this package on a Mac with the coreml backend."
            )
        self.function = function
        self._rounded = rounded
        self._constants: dict[str, Value] = {}
        self._steps: list[_Step] = []
        with torch.inference_mode():
            self._prepare()

    def _prepare(self) -> None:
        known, pending = operations(), []
        for operation in self.function.operations:
            if operation.value is not None:
                value = tensor_from_array(operation.value.load())
                self._constants[operation.outputs[0][0]] = value
            elif operation.kind.startswith("constexpr_"):
                step = _Step(operation, known[operation.kind], ())
                self._execute(step, self._constants, rounded=self._rounded)
            else:
                pending.append(operation)
        last_use: dict[str, int] = {}
        for index, operation in enumerate(pending):
            last_use.update(dict.fromkeys(_references(operation), index))
        for index, operation in enumerate(pending):
            names = {*_references(operation), *(name for name, _ in operation.outputs)}
            self._steps.append(
                _Step(
                    operation,
                    known[operation.kind],
                    tuple(
                        name
                        for name in names
                        if last_use.get(name, index) == index
                        and name not in self._constants
                        and name not in self.function.outputs
                    ),
                )
            )

    def run(
        self,
        feeds: Mapping[str, Tensor],
        *,
        observe: Observer | None = None,
        rounded: bool | None = None,
    ) -> dict[str, Tensor]:
        """Execute the function.

        Args:
            feeds: one tensor an input of the function.
            observe: called after every operation with a float result.
            rounded: overrules the interpreter's own setting for this run.

        Raises:
            InferenceError: an operation failed, or gave another shape than declared.
        """
        wanted = self._rounded if rounded is None else rounded
        with torch.inference_mode():
            values: dict[str, Value] = {}
            for name, declared in self.function.inputs:
                where = f"input {name!r}"
                feed = feeds[name]
                values[name] = conform(feed, declared, where=where, rounded=wanted)
            scope = collections.ChainMap(values, self._constants)
            for step in self._steps:
                self._execute(step, scope, observe=observe, rounded=wanted)
                for name in step.releases:
                    values.pop(name, None)
            return {name: _tensor(scope[name]) for name in self.function.outputs}

    def _execute(
        self,
        step: _Step,
        scope: collections.ChainMap[str, Value] | dict[str, Value],
        *,
        observe: Observer | None = None,
        rounded: bool,
    ) -> None:
        operation = step.operation
        where = f"{operation.kind} {operation.name!r}"
        arguments = {key: _value(args, scope) for key, args in operation.inputs.items()}
        try:
            result = step.function(**arguments)
        except InferenceError as error:
            raise InferenceError(f"{where}: {error}") from error
        except Exception as error:
            raise InferenceError(
                f"{where} failed on {_describe(arguments)}: {str(error).rstrip('.')}. "
                "The package is inconsistent, or newer than this reader: export it again."
            ) from error
        results = (result,) if isinstance(result, Tensor) else tuple(result)
        if observe is not None and results[0].is_floating_point():
            observe(operation, arguments, results[0])
        for value, (name, declared) in zip(results, operation.outputs, strict=True):
            scope[name] = conform(value, declared, where=where, rounded=rounded)


def _references(operation: Operation) -> Iterable[str]:
    for arguments in operation.inputs.values():
        for argument in arguments:
            if not isinstance(argument, Constant):
                yield argument.name


def _value(arguments: tuple[Argument, ...], scope: Mapping[str, Value]) -> Value:
    values = [
        tensor_from_array(a.load()) if isinstance(a, Constant) else scope[a.name] for a in arguments
    ]
    return values[0] if len(values) == 1 else tuple(_tensor(v) for v in values)


def _tensor(value: Value) -> Tensor:
    if not isinstance(value, Tensor):
        raise InferenceError(f"The program uses {value!r} where a tensor is expected.")
    return value


def _describe(arguments: Mapping[str, Value]) -> str:
    parts = [
        f"{key}{tuple(value.shape)}" if isinstance(value, Tensor) else f"{key}"
        for key, value in arguments.items()
    ]
    return ", ".join(parts) or "nothing"
