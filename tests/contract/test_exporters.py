"""Every exporter that discovery finds keeps its promises, and a broken one is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from samedge import _discovery
from samedge.bundle.manifest import ModelRecord
from samedge.export import base
from samedge.export._onnx import OnnxExporter
from samedge.export.base import ExportedGraph, Exporter, ExportRequest
from samedge.export.graphs import Graph
from samedge.targets import target
from samedge.types import Precision
from tests.contract import exporter_checks as checks
from tests.export.conftest import tiny_painted

SOURCE = ModelRecord(name="tiny", licence="Apache-2.0", origin="random numbers", encoder="patch")


@pytest.fixture(scope="module")
def make() -> checks.Make:
    model = tiny_painted()  # exported twice as fast as the tiny SAM

    def request(name: str, **changes: Any) -> ExportRequest:
        row = target(name)
        fields: dict[str, Any] = {
            "model": model,
            "source": SOURCE,
            "target": row,
            "precision": Precision.FP32,
            "buckets": row.prompt_buckets,
        }
        return ExportRequest(**{**fields, **changes})

    return request


@pytest.fixture(scope="module")
def written_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Exporting takes seconds, and several checks look at the same files: each gets a copy."""
    known: dict[str, tuple[Path, tuple[ExportedGraph, ...]]] = {}

    def remember(exporter: Exporter) -> Callable[..., tuple[ExportedGraph, ...]]:
        export = exporter.export

        def remembered(request: ExportRequest, folder: Path) -> tuple[ExportedGraph, ...]:
            key = f"{exporter.name} {request.precision} {dict(request.options)}"
            if key not in known:
                kept = tmp_path_factory.mktemp("written")
                known[key] = kept, export(request, kept)
            shutil.copytree(known[key][0], folder, dirs_exist_ok=True)
            return known[key][1]

        return remembered

    with pytest.MonkeyPatch.context() as patch:
        for name in base.names():
            exporter = base.get(name)
            patch.setattr(exporter, "export", remember(exporter))
        yield


@pytest.mark.usefixtures("written_once")
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", base.names())
def test_exporter(name: str, check: Any, make: checks.Make, tmp_path: Path) -> None:
    exporter = base.get(name)
    for package in exporter.packages:
        pytest.importorskip(package)
    check(exporter, make, tmp_path)


@pytest.mark.parametrize("name", base.names())
def test_its_name_is_the_files(name: str) -> None:
    exporter = base.get(name)
    assert exporter.name == name
    assert type(exporter).__module__ == f"samedge.export._{name}"


# ---- the checks must be able to fail


class Undeclared(OnnxExporter):
    packages = ("torch", "onnx", "no-such-package")


class _Version(str):
    __slots__ = ()


class SubclassOfStr(OnnxExporter):
    def versions(self) -> dict[str, str]:
        return {name: _Version("1") for name in self.packages}


class WrongReader(OnnxExporter):
    def check_backend(self, target: Any) -> str:
        return "torch"


class LeavesScratch(OnnxExporter):
    def _export(self, graph: Graph, request: ExportRequest, folder: Path) -> ExportedGraph:
        (folder / "scratch").touch()
        return super()._export(graph, request, folder)


class Swapped(OnnxExporter):
    """Writes the decoder where the encoder should be."""

    def export(self, request: ExportRequest, folder: Path) -> tuple[ExportedGraph, ...]:
        graphs = super().export(request, folder)
        (folder / "encoder.onnx").write_bytes((folder / "decoder.onnx").read_bytes())
        return graphs


class Telltale(OnnxExporter):
    def _export(self, graph: Graph, request: ExportRequest, folder: Path) -> ExportedGraph:
        done = super()._export(graph, request, folder)
        with (folder / done.path).open("ab") as file:
            file.write(str(Path(_discovery.__file__).parent).encode())
        return done


class Unchecked(OnnxExporter):
    def _check(self, request: ExportRequest) -> None:
        del request


BREAKS: dict[str, type[Exporter]] = {
    "declares_itself": Undeclared,
    "versions_are_plain_text": SubclassOfStr,
    "names_a_backend_that_opens_its_files": WrongReader,
    "writes_what_it_says_and_nothing_else": LeavesScratch,
    "files_open_and_have_the_graph_s_names": Swapped,
    "names_no_folder_of_this_machine": Telltale,
    "unknown_options_are_errors": Unchecked,
    "a_precision_that_it_does_not_write_is_an_error": Unchecked,
}


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_a_broken_exporter_is_found(check: Any, make: checks.Make, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, Exception, pytest.fail.Exception)) as caught:
        check(BREAKS[check.__name__](), make, tmp_path)
    assert not isinstance(caught.value, (OSError, KeyError, AttributeError, TypeError))
