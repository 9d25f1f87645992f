"""Every operation of the mil backend by itself: built, saved, read back, compared with torch.

The packages come from coremltools' own builder, so parameter names, defaults and file format are
tested with the arithmetic.
"""

from __future__ import annotations

import contextlib
import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from samedge.runtimes._mil import BACKEND  # noqa: E402 - after the import that may skip
from samedge.runtimes.mil.ops import operations  # noqa: E402
from samedge.runtimes.mil.package import read_package  # noqa: E402
from tests.runtimes.mil_cases import (  # noqa: E402
    arithmetic,
    compressed,
    layout,
    normalising,
    products,
    resizing,
)
from tests.runtimes.mil_cases.case import Case  # noqa: E402

CASES = [
    *products.CASES,
    *arithmetic.CASES,
    *layout.CASES,
    *normalising.CASES,
    *resizing.CASES,
    *compressed.CASES,
]

NAMED = {
    f"case_{case.kind}_{case.note}".strip("_").replace(", ", "_").replace(" ", "_"): case
    for case in CASES
}
assert len(NAMED) == len(CASES), "two cases share a name"


def _save(coremltools: Any, opset: str, path: Path) -> None:
    """Save one package with every case of an opset, unoptimised, each with its own output."""
    from coremltools.converters.mil import Builder as mb

    target = getattr(coremltools.target, opset)
    slots = [(name, case) for name, case in NAMED.items() if case.opset == opset]
    specs = {
        f"{name}_in{index}": mb.TensorSpec(shape=shape)
        for name, case in slots
        for index, shape in enumerate(case.shapes)
    }

    def body(*inputs: Any) -> Any:
        rest = iter(inputs)
        results = [case.build(mb, *(next(rest) for _ in case.shapes)) for _, case in slots]
        return tuple(
            mb.identity(x=result, name=name)
            for (name, _), result in zip(slots, results, strict=True)
        )

    body = eval(f"lambda {', '.join(specs)}: body({', '.join(specs)})", {"body": body})
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = mb.program(input_specs=list(specs.values()), opset_version=target)(body)
        model = coremltools.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=target,
            compute_precision=coremltools.precision.FLOAT32,
            pass_pipeline=coremltools.PassPipeline.EMPTY,
            skip_model_load=True,
        )
        model.save(str(path))


def _feeds(name: str, case: Case) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    feeds = {}
    for index, shape in enumerate(case.shapes):
        array = rng.standard_normal(shape).astype(np.float32)
        feeds[f"{name}_in{index}"] = np.abs(array) + np.float32(0.1) if case.positive else array
    return feeds


@pytest.fixture(scope="module")
def results(coremltools: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Every case's result, by name, from two saved packages."""
    folder, found = tmp_path_factory.mktemp("operations"), {}
    for opset in ("iOS17", "iOS18"):
        path = folder / f"{opset}.mlpackage"
        _save(coremltools, opset, path)
        slots = {name: case for name, case in NAMED.items() if case.opset == opset}
        feeds = {k: v for name, case in slots.items() for k, v in _feeds(name, case).items()}
        kinds = {op.kind for op in read_package(path).functions["main"].operations}
        assert {case.kind for case in slots.values()} <= kinds
        with BACKEND.open(path) as session:
            found.update(session.run(feeds))
    return found


@pytest.mark.parametrize("name", NAMED)
def test_operation_against_torch(results: dict[str, np.ndarray], name: str) -> None:
    case = NAMED[name]
    feeds = _feeds(name, case)
    expected = case.reference(*map(torch.tensor, feeds.values())).numpy()
    assert results[name].shape == expected.shape
    np.testing.assert_allclose(results[name], expected, rtol=2e-5, atol=2e-5)


def test_every_operation_has_a_case() -> None:
    assert {case.kind for case in CASES} == set(operations())
