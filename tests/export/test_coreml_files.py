"""coremltools' temporary files: in a folder of ours, and gone however an export ends."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samedge.errors import ExportError
from samedge.export import _coreml
from samedge.export._coreml import EXPORTER
from samedge.export.base import ExportRequest
from samedge.export.coreml.library import coremltools, temporary_files
from samedge.export.graphs import EncoderGraph, Graph
from samedge.files.writing import MARK
from samedge.types import Precision

pytest.importorskip("coremltools")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for this process' temporary files."""
    folder = tmp_path / "system"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def apple(request_for: Callable[..., ExportRequest]) -> ExportRequest:
    return request_for("apple", precision=Precision.FP32, buckets=((1, 11),))


def made(request: ExportRequest, folder: Path) -> None:
    graphs: list[Graph] = [EncoderGraph(request.model)]
    folder.mkdir(exist_ok=True)
    EXPORTER.written(graphs, request, folder=folder)


def test_an_export_leaves_nothing(
    apple: ExportRequest,
    system: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every package of coremltools was in our folder, which a later process may clear."""
    seen: list[Path] = []
    describe = _coreml._describe

    def watched(model: Any, graph: Graph, request: ExportRequest) -> None:
        seen.append(Path(model.package_path))
        (ours,) = system.iterdir()
        assert ours.name.startswith(MARK)
        describe(model, graph, request)

    monkeypatch.setattr(_coreml, "_describe", watched)
    made(apple, tmp_path / "out")
    (package,) = seen
    assert package.relative_to(system).parts[0].startswith(MARK)
    assert list(system.iterdir()) == []
    assert (tmp_path / "out" / "encoder.mlpackage").is_dir()


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt("stop")])
def test_one_that_fails_or_is_interrupted_leaves_nothing(
    apple: ExportRequest,
    system: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def ends(*_: object, **__: object) -> None:
        coremltools("models.utils")._tempfile.mkdtemp(suffix=".mlpackage")
        raise error

    monkeypatch.setattr(_coreml, "convert", ends)
    with pytest.raises((ExportError, KeyboardInterrupt), match=str(error)):
        made(apple, tmp_path / "out")
    assert list(system.iterdir()) == []


def test_only_coremltools_is_touched(system: Path) -> None:
    utils = coremltools("models.utils")
    before = utils._tempfile
    with temporary_files(), temporary_files():
        other = Path(tempfile.mkdtemp())
        theirs = Path(utils._tempfile.mkdtemp(suffix=".mlpackage"))
        with utils._tempfile.NamedTemporaryFile(suffix=".mlmodel") as file:
            assert Path(file.name).parent == theirs.parent
        assert other.parent == system
        assert theirs.parent.parent == system
    assert utils._tempfile is before is tempfile
    assert list(system.iterdir()) == [other]


def test_two_threads_take_turns(system: Path) -> None:
    """Else the folder of the second would go with the first."""
    entered = threading.Event()

    def enter() -> None:
        with temporary_files():
            entered.set()

    with temporary_files():
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(timeout=60)
    assert entered.is_set()
    assert list(system.iterdir()) == []


def test_what_tests_convert_lies_in_pytests_folder(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """pytest's workers end without asking coremltools to clear up."""
    made = Path(coremltools("models.utils")._tempfile.mkdtemp(suffix=".mlpackage"))
    assert made.is_relative_to(tmp_path_factory.getbasetemp())
