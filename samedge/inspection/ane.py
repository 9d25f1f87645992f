"""What of a Core ML package would leave Apple's Neural Engine, pad there, or only move data.

Core ML decides on the device; these rules are what is published about its decision, each with its
source. They are applied to the saved program, so the report speaks of what will run and not of
what was written in torch.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from samedge.runtimes.mil.package import read_package
from samedge.runtimes.mil.program import Constant, Function, Operation, Reference, TensorType

Severity = Literal["error", "warning", "note"]

TRANSFORMERS = "https://machinelearning.apple.com/research/neural-engine-transformers"
FLEXIBLE = "https://developer.apple.com/forums/thread/724930"
UNSUPPORTED = "https://github.com/hollance/neural-engine/blob/master/docs/unsupported-layers.md"
TYPED = "https://apple.github.io/coremltools/docs-guides/source/typed-execution.html"

LAYOUT_KINDS = frozenset(
    {
        *("reshape", "transpose", "concat", "split", "stack", "tile", "slice_by_index"),
        *("slice_by_size", "space_to_depth", "depth_to_space", "pixel_shuffle", "pixel_unshuffle"),
        *("expand_dims", "squeeze", "reverse", "flatten2d"),
    }
)
"""Operations that compute nothing."""

_INDEXING = frozenset(
    {
        *("gather", "gather_along_axis", "gather_nd", "scatter", "scatter_along_axis"),
        *("scatter_nd", "topk", "argsort", "non_zero", "one_hot", "cumsum", "range_1d"),
        *("reduce_argmax", "reduce_argmin", "while_loop", "cond", "shape"),
    }
)
_DOUBTFUL = frozenset({"sin", "cos", "tan", "atan", "acos", "asin", "erf", "mod", "floor_div"})
MAX_RANK, HOT_RANK = 5, 4
MAX_AXIS = 16384
PAD_BYTES = 64
_PADDING_WORTH_A_WORD = 2.0
_SMALL_WORK = 0.001


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that Core ML or the Neural Engine will not do well.

    Attributes:
        severity: ``error`` leaves the Neural Engine, ``warning`` wastes it, ``note`` may do either.
        rule: short name of the rule.
        kind: MIL's name of the operation.
        operation: its own name, which the converter derives from the module's.
        reason: what is wrong, with the shape or type that makes it so.
        source: where the rule is published.
        share: of the function's work, 0 to 1.
    """

    severity: Severity
    rule: str
    kind: str
    operation: str
    reason: str
    source: str
    share: float


@dataclasses.dataclass(frozen=True)
class AneReport:
    """The lint of one function.

    Attributes:
        function: its name.
        operations: how many execute at run time.
        findings: worst first.
        layout_operations: how many only move data.
        layout_share: share of the work that only moves data; a product counts its multiplications.
        layout_traffic: share of the elements written that are written by such operations.
        host_operations: how many are kept in fp32 on purpose and run on the CPU.
    """

    function: str
    operations: int
    findings: tuple[Finding, ...]
    layout_operations: int
    layout_share: float
    layout_traffic: float
    host_operations: int

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that leave the Neural Engine."""
        return tuple(f for f in self.findings if f.severity == "error")

    def by_rule(self) -> dict[str, int]:
        """Number of findings by rule."""
        return dict(collections.Counter(finding.rule for finding in self.findings))


def lint_package(path: Path, *, function: str | None = None) -> AneReport:
    """Lint a saved package.

    Args:
        path: the ``.mlpackage`` folder.
        function: name of the function where there are several; ``None`` takes the default one.

    Raises:
        BundleError: the package is damaged.
        UnknownNameError: it has no such function.
        BackendUnavailableError: coremltools, whose file format is read, is not installed.
    """
    package = read_package(path)
    name = package.function_name(function)
    varying = [f for f in package.inputs[name] if any(isinstance(n, str) for n in f.shape)]
    enumerated = bool(varying) and all(feature.allowed_shapes for feature in varying)
    return lint(package.functions[name], enumerated=enumerated)


def lint(function: Function, *, enumerated: bool = False) -> AneReport:
    """Lint a function of a program.

    Args:
        function: the function.
        enumerated: its inputs list every shape that they take, all of which run on the Neural
            Engine, so that an axis that varies is no finding.
    """
    types = function.types()
    operations = [op for op in function.compute() if op.kind != "cast"]
    constants = function.constants()
    work = {id(op): _work(op, types, constants) for op in operations}
    total = sum(work.values()) or 1.0
    findings = [
        dataclasses.replace(finding, share=work[id(op)] / total)
        for op in operations
        for finding in _findings(op, types)
        if not (enumerated and finding.rule == "flexible")
    ]
    layout = [op for op in operations if op.kind in LAYOUT_KINDS]
    order = ("error", "warning", "note")
    findings.sort(key=lambda f: (order.index(f.severity), -f.share))
    return AneReport(
        function=function.name,
        operations=len(operations),
        findings=tuple(_downgraded(findings)),
        layout_operations=len(layout),
        layout_share=sum(work[id(op)] for op in layout) / total,
        layout_traffic=sum(map(_written, layout)) / max(sum(map(_written, operations)), 1),
        host_operations=sum(_is_host(op) for op in operations),
    )


def _downgraded(findings: Iterable[Finding]) -> Iterable[Finding]:
    """An error on next to no work is worth a note: it costs one trip to the CPU."""
    for finding in findings:
        if finding.severity == "error" and finding.share < _SMALL_WORK:
            yield dataclasses.replace(finding, severity="note")
        else:
            yield finding


def _elements(kind: TensorType) -> int:
    return math.prod(size or 1 for size in kind.shape)


def _written(operation: Operation) -> int:
    return sum(_elements(kind) for _, kind in operation.outputs)


def _operand(operation: Operation, name: str, types: dict[str, TensorType]) -> TensorType:
    (argument,) = operation.inputs[name]
    return types[argument.name] if isinstance(argument, Reference) else argument.type


def _work(
    operation: Operation, types: dict[str, TensorType], constants: dict[str, Constant]
) -> float:
    """Multiply-accumulates, or elements written where there is no product."""
    elements = float(_written(operation))
    if operation.kind in ("conv", "conv_transpose", "linear"):
        weight = _operand(operation, "weight", types)
        if operation.kind == "conv_transpose":
            return (
                float(_elements(_operand(operation, "x", types)))
                * _elements(weight)
                / (weight.shape[0] or 1)
            )
        return elements * _elements(weight) / (weight.shape[0] or 1)
    if operation.kind == "matmul":
        inner = _operand(operation, "x", types).shape
        transposed = _flag(operation, "transpose_x", constants)
        return elements * (inner[-2 if transposed else -1] or 1)
    return elements


def _flag(operation: Operation, name: str, constants: dict[str, Constant]) -> bool:
    """A bool parameter, false by default."""
    for argument in operation.inputs.get(name, ()):
        value = constants[argument.name] if isinstance(argument, Reference) else argument
        return bool(value.load())
    return False


def _is_host(operation: Operation) -> bool:
    return all(kind.dtype == "float32" for _, kind in operation.outputs)


def _findings(operation: Operation, types: dict[str, TensorType]) -> Iterable[Finding]:
    for rule in _RULES:
        for severity, name, reason, source in rule(operation, types):
            yield Finding(
                severity=severity,
                rule=name,
                kind=operation.kind,
                operation=operation.name,
                reason=reason,
                source=source,
                share=0.0,
            )


Verdict = tuple[Severity, str, str, str]
Rule = Callable[[Operation, dict[str, TensorType]], Iterable[Verdict]]


def _type_rule(operation: Operation, types: dict[str, TensorType]) -> Iterable[Verdict]:
    del types
    for _, kind in operation.outputs:
        if kind.dtype in ("float32", "int32", "uint16", "int16"):
            reason = f"computes in {kind.dtype}; the Neural Engine computes in float16"
            yield ("error", "type", reason, TYPED)
            return


def _indexing_rule(operation: Operation, types: dict[str, TensorType]) -> Iterable[Verdict]:
    del types
    if operation.kind in _INDEXING:
        reason = f"{operation.kind} addresses by value, which the Neural Engine cannot"
        yield ("error", "indexing", reason, UNSUPPORTED)
    if operation.kind in _DOUBTFUL:
        reason = f"{operation.kind} is not known to run on the Neural Engine"
        yield ("warning", "doubtful", reason, UNSUPPORTED)


def _shape_rule(operation: Operation, types: dict[str, TensorType]) -> Iterable[Verdict]:
    del types
    for _, kind in operation.outputs:
        rank = len(kind.shape)
        if rank > MAX_RANK:
            reason = f"has {rank} axes, at most {MAX_RANK} fit"
            yield ("error", "rank", reason, TRANSFORMERS)
        elif rank > HOT_RANK:
            reason = f"has {rank} axes; more than {HOT_RANK} are slow"
            yield ("warning", "rank", reason, TRANSFORMERS)
        if None in kind.shape:
            reason = f"{kind} has a flexible axis; only the default shape runs on the Neural Engine"
            yield ("error", "flexible", reason, FLEXIBLE)
        if any((size or 0) > MAX_AXIS for size in kind.shape):
            reason = f"{kind} has an axis above {MAX_AXIS}, the limit up to A15 and M2"
            yield ("warning", "axis", reason, UNSUPPORTED)


def _padding_rule(operation: Operation, types: dict[str, TensorType]) -> Iterable[Verdict]:
    del types
    for _, kind in operation.outputs:
        last = (kind.shape[-1] or 1) if kind.shape else 1
        if len(kind.shape) < 2 or kind.dtype != "float16":
            continue
        used = 2 * last
        factor = -(-used // PAD_BYTES) * PAD_BYTES / used
        if factor >= _PADDING_WORTH_A_WORD:
            reason = f"{kind}: the last axis takes {used} bytes and pads {factor:.1f} times"
            yield ("warning", "padding", reason, TRANSFORMERS)


_RULES: tuple[Rule, ...] = (_type_rule, _indexing_rule, _shape_rule, _padding_rule)


def summary(report: AneReport) -> dict[str, object]:
    """The report as plain values, for JSON."""
    return {
        "function": report.function,
        "operations": report.operations,
        "layout_operations": report.layout_operations,
        "layout_share": report.layout_share,
        "layout_traffic": report.layout_traffic,
        "host_operations": report.host_operations,
        "by_rule": report.by_rule(),
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
    }
