"""What every exporter promises, as functions that raise where one does not keep it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from samedge import _discovery, runtimes
from samedge.errors import ExportError, UnknownNameError
from samedge.export.base import ExportedGraph, Exporter, ExportRequest
from samedge.targets import TARGETS
from samedge.types import Precision

Make = Callable[..., ExportRequest]
"""``make(target, **changes)``: a request to export a tiny model."""


def target_of(exporter: Exporter) -> str:
    """The first platform that this exporter writes for."""
    return next(name for name, row in TARGETS.items() if row.format == exporter.name)


def request_for(exporter: Exporter, make: Make) -> ExportRequest:
    precision = Precision.FP32
    return exporter.prepared(make(target_of(exporter), precision=precision))


def exported(exporter: Exporter, make: Make, folder: Path) -> tuple[ExportedGraph, ...]:
    return exporter.export(request_for(exporter, make), folder)


def declares_itself(exporter: Exporter, make: Make, folder: Path) -> None:
    assert Precision.FP32 in exporter.precisions
    assert exporter.packages
    assert set(exporter.packages) <= set(_discovery.declared("packages"))
    for row in TARGETS.values():
        if row.format == exporter.name:
            assert set(row.precisions) <= set(exporter.precisions)


def versions_are_plain_text(exporter: Exporter, make: Make, folder: Path) -> None:
    found = exporter.versions()
    assert found.keys() == set(exporter.packages)
    assert all(type(version) is str for version in found.values())


def names_a_backend_that_opens_its_files(exporter: Exporter, make: Make, folder: Path) -> None:
    backend = runtimes.get(exporter.check_backend(TARGETS[target_of(exporter)]))
    assert (exporter.artifact_format or exporter.name) in backend.formats


def writes_what_it_says_and_nothing_else(exporter: Exporter, make: Make, folder: Path) -> None:
    graphs = exported(exporter, make, folder)
    named = {name for graph in graphs for name in (graph.path, *graph.extra_files)}
    assert named == {path.name for path in folder.iterdir()}
    assert {graph.format for graph in graphs} == {exporter.artifact_format or exporter.name}
    assert {graph.precision for graph in graphs} == {Precision.FP32}


def files_open_and_have_the_graph_s_names(exporter: Exporter, make: Make, folder: Path) -> None:
    request = request_for(exporter, make)
    backend = runtimes.get(exporter.check_backend(request.target))
    probe = backend.probe()
    if not probe.available:
        pytest.skip(probe.detail)
    for graph in exporter.export(request, folder):
        wanted = {record.name for record in graph.graph.input_records()}
        with backend.open(folder / graph.path, options=graph.options) as session:
            assert {spec.name for spec in session.inputs} == wanted
            assert {spec.name for spec in session.outputs} == set(graph.graph.output_names)


def names_no_folder_of_this_machine(exporter: Exporter, make: Make, folder: Path) -> None:
    exported(exporter, make, folder)
    here = str(Path(_discovery.__file__).parent).encode()
    for path in folder.rglob("*"):
        assert not path.is_file() or here not in path.read_bytes(), path.name


def unknown_options_are_errors(exporter: Exporter, make: Make, folder: Path) -> None:
    request = make(target_of(exporter), options={"no-such": "value"})
    with pytest.raises(UnknownNameError, match="no-such"):
        exporter.export(request, folder)
    assert not list(folder.iterdir())


def a_precision_that_it_does_not_write_is_an_error(
    exporter: Exporter, make: Make, folder: Path
) -> None:
    for precision in set(Precision) - {Precision.AUTO, *exporter.precisions}:
        request = make(target_of(exporter), precision=precision)
        with pytest.raises(ExportError, match="choose"):
            exporter.export(request, folder)
    assert not list(folder.iterdir())


CHECKS: tuple[Callable[[Exporter, Make, Path], None], ...] = (
    declares_itself,
    versions_are_plain_text,
    names_a_backend_that_opens_its_files,
    writes_what_it_says_and_nothing_else,
    files_open_and_have_the_graph_s_names,
    names_no_folder_of_this_machine,
    unknown_options_are_errors,
    a_precision_that_it_does_not_write_is_an_error,
)
