"""The Neural Engine lint: every rule has a graph that breaks it and one that does not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from samedge.inspection.ane import lint, summary
from samedge.runtimes.mil.program import Constant, Function, Operation, Reference, TensorType

HALF = "float16"


def tensor(*shape: int | None, dtype: str = HALF) -> TensorType:
    return TensorType(dtype, shape)


def weight(*shape: int) -> Constant:
    return Constant(tensor(*shape), lambda: np.zeros(shape, np.float16))


def flag(*, value: bool) -> Constant:
    return Constant(TensorType("bool", ()), lambda: np.array(value))


def operation(kind: str, output: TensorType, **inputs: Any) -> Operation:
    arguments: dict[str, tuple[Constant | Reference, ...]] = {
        name: (value if isinstance(value, Constant) else Reference(value),)
        for name, value in inputs.items()
    }
    return Operation(kind, f"{kind}_name", arguments, ((f"{kind}_out", output),))


def function(*operations: Operation, x: TensorType | None = None) -> Function:
    declared = x or tensor(1, 64, 32, 32)
    outputs = (operations[-1].outputs[0][0],)
    return Function("main", "CoreML7", (("x", declared),), outputs, operations)


CONV = operation("conv", tensor(1, 128, 32, 32), x="x", weight=weight(128, 64, 3, 3))


def test_sound_graph_has_no_finding() -> None:
    report = lint(function(CONV, operation("relu", tensor(1, 128, 32, 32), x="conv_out")))
    assert report.findings == ()
    assert (report.operations, report.layout_operations, report.host_operations) == (2, 0, 0)


@pytest.mark.parametrize(
    ("bad", "rule", "severity"),
    [
        (operation("mul", tensor(1, 64, 32, 32, dtype="float32"), x="x", y="x"), "type", "error"),
        (operation("add", tensor(4, 64, dtype="int32"), x="x", y="x"), "type", "error"),
        (operation("gather", tensor(1, 64, 32, 32), x="x"), "indexing", "error"),
        (operation("sin", tensor(1, 64, 32, 32), x="x"), "doubtful", "warning"),
        (operation("reshape", tensor(1, 2, 4, 8, 8, 64), x="x"), "rank", "error"),
        (operation("reshape", tensor(1, 2, 32, 16, 64), x="x"), "rank", "warning"),
        (operation("relu", tensor(1, 64, None, 32), x="x"), "flexible", "error"),
        (operation("reshape", tensor(1, 1, 32768, 64), x="x"), "axis", "warning"),
        (operation("matmul", tensor(1, 8, 4096, 10), x="x", y="x"), "padding", "warning"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rule(bad: Operation, rule: str, severity: str) -> None:
    (finding,) = lint(function(bad)).findings
    assert (finding.rule, finding.severity) == (rule, severity)
    assert finding.operation == f"{bad.kind}_name"
    assert finding.source.startswith("https://")
    assert finding.share == 1.0


def test_padding_is_measured() -> None:
    report = lint(function(operation("matmul", tensor(1, 8, 4096, 10), x="x", y="x")))
    assert "pads 3.2 times" in report.findings[0].reason


def test_error_on_next_to_no_work_is_a_note() -> None:
    tiny = operation("mul", tensor(1, 2, dtype="float32"), x="x", y="x")
    report = lint(function(CONV, tiny))
    assert [finding.severity for finding in report.findings] == ["note"]
    assert report.errors == ()
    assert report.host_operations == 1


def test_work_counts_products() -> None:
    shuffle = operation("reshape", tensor(1, 128, 1024), x="conv_out")
    report = lint(function(CONV, shuffle))
    macs, moved = 128 * 32 * 32 * 64 * 9, 128 * 1024
    assert report.layout_operations == 1
    assert report.layout_share == pytest.approx(moved / (macs + moved))
    assert report.layout_traffic == pytest.approx(0.5)


@pytest.mark.parametrize(("transposed", "inner"), [(False, 16), (True, 64)])
def test_work_of_a_matrix_product(transposed: bool, inner: int) -> None:
    product = operation(
        "matmul", tensor(1, 64, 32), x="x", y="x", transpose_x=flag(value=transposed)
    )
    reshape = operation("reshape", tensor(1, 64, 32), x="matmul_out")
    report = lint(function(product, reshape, x=tensor(1, 64, 16)))
    assert report.layout_share == pytest.approx(1 / (inner + 1))


def test_casts_and_constants_do_not_count() -> None:
    cast = operation("cast", tensor(1, 64, 32, 32), x="x")
    assert lint(function(cast, CONV)).operations == 1


def test_findings_come_worst_first_and_as_plain_values() -> None:
    padded = operation("matmul", tensor(1, 8, 4096, 10), x="x", y="x")
    gather = operation("gather", tensor(1, 64, 32, 32), x="x")
    report = lint(function(padded, gather))
    assert [finding.severity for finding in report.findings] == ["error", "warning"]
    document = json.loads(json.dumps(summary(report)))
    assert document["by_rule"] == {"indexing": 1, "padding": 1}
    assert document["findings"][0]["kind"] == "gather"
