"""What every quantizer promises, as functions that raise where one does not keep it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samedge import _discovery, runtimes
from samedge.calibration.base import FeedSource, Quantizer
from samedge.calibration.plan import PrecisionPlan
from samedge.errors import CalibrationError
from samedge.types import Precision
from tests.calibration import graphs

SUFFIX = {"openvino": ".xml"}
"""Of files in a format; ``.format`` where it is not here."""

QUIET_DB = 20.0
"""Least signal over noise that a precision may leave on the small graph."""


def plan_for(quantizer: Quantizer, precision: Precision) -> PrecisionPlan:
    if precision is Precision.INT8:
        return PrecisionPlan()
    return PrecisionPlan(default=precision.value, rest=precision.value)


def written(quantizer: Quantizer, source: Path, folder: Path, feeds: FeedSource) -> Path:
    """The graph in the quantizer's usual precision."""
    form = quantizer.formats[0]
    destination = folder / f"quantized{SUFFIX.get(form, f'.{form}')}"
    plan = plan_for(quantizer, quantizer.precisions[0])
    done = quantizer.quantize(source, destination, plan=plan, feeds=feeds)
    assert done.path == destination
    assert destination.is_file()
    assert set(done.modules) <= set(quantizer.modules(source))
    return destination


def declares_itself(quantizer: Quantizer, source: Path, folder: Path) -> None:
    opened = {kind for name in runtimes.names() for kind in runtimes.get(name).formats}
    assert quantizer.formats
    assert set(quantizer.formats) <= opened
    assert quantizer.precisions
    assert all(type(precision) is Precision for precision in quantizer.precisions)
    assert set(quantizer.backends) <= set(runtimes.names())
    assert quantizer.packages
    assert set(quantizer.packages) <= set(_discovery.declared("packages"))


def names_the_modules_of_a_graph(quantizer: Quantizer, source: Path, folder: Path) -> None:
    found = quantizer.modules(source)
    assert isinstance(found, tuple)
    assert {"encoder.stem", "encoder.neck"} <= set(found)
    assert len(set(found)) == len(found)


def computes_nearly_the_same(quantizer: Quantizer, source: Path, folder: Path) -> None:
    path = written(quantizer, source, folder, graphs.feeds)
    backend = runtimes.get(_reader(quantizer))
    options = {**backend.scratch_options, **backend.exact_options}
    feed = next(graphs.feeds())
    with backend.open(path, options=options) as session:
        measured = session.run(feed)["image_embeddings"].astype(np.float64)
    reference = graphs.run(source, feed)
    noise = np.square(reference - measured).mean()
    assert 10 * np.log10(np.square(reference).mean() / max(noise, 1e-30)) > QUIET_DB
    assert noise > 0, "it is in lower precision"


def leaves_the_source_alone(quantizer: Quantizer, source: Path, folder: Path) -> None:
    before = source.read_bytes()
    written(quantizer, source, folder, graphs.feeds)
    assert source.read_bytes() == before


def writes_nothing_beside(quantizer: Quantizer, source: Path, folder: Path) -> None:
    path = written(quantizer, source, folder, graphs.feeds)
    assert {other.stem for other in folder.iterdir()} == {path.stem}


def says_what_fails(quantizer: Quantizer, source: Path, folder: Path) -> None:
    broken = folder / f"broken{source.suffix}"
    broken.write_bytes(b"no graph")
    plan = plan_for(quantizer, quantizer.precisions[0])
    with pytest.raises(CalibrationError, match="broken"):
        quantizer.quantize(broken, folder / "out.onnx", plan=plan, feeds=graphs.feeds)


def _reader(quantizer: Quantizer) -> str:
    """A backend that opens what it writes, here."""
    wanted = quantizer.backends or runtimes.names()
    for name in wanted:
        backend = runtimes.get(name)
        if set(quantizer.formats) & set(backend.formats) and backend.probe().available:
            return name
    pytest.skip(f"no backend here opens {', '.join(quantizer.formats)}")


CHECKS: tuple[Callable[[Quantizer, Path, Path], None], ...] = (
    declares_itself,
    names_the_modules_of_a_graph,
    computes_nearly_the_same,
    leaves_the_source_alone,
    writes_nothing_beside,
    says_what_fails,
)
