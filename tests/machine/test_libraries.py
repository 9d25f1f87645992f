"""Libraries that report to their makers are loaded by one door, which is held shut."""

from __future__ import annotations

import ast
import os
import sys
import types
from pathlib import Path

import pytest

from samedge.machine import libraries
from tools import house

REPORTING = {"onnxruntime", "openvino", "openvino_telemetry", "nncf", "onnxslim", "onnxscript"}


def called(node: ast.Call) -> str:
    """The last part of a called name."""
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))


def direct_imports(package: Path) -> list[str]:
    """Imports of reporting libraries that do not go through the door."""
    found = []
    for module in house.modules(package):
        for node in house.walk(module.tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and called(node).endswith("import_module"):
                names = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
            found += [f"{module.name} imports {n}" for n in names if n.split(".")[0] in REPORTING]
    return found


def test_every_import_goes_through_the_door() -> None:
    assert direct_imports(house.PACKAGE) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    import openvino as ov",
        "from onnxruntime.quantization import QuantType",
        "import importlib\nimportlib.import_module('nncf')",
    ],
)
def test_another_import_would_be_found(tmp_path: Path, source: str) -> None:
    """Positive control."""
    package = tmp_path / "samedge"
    package.mkdir()
    (package / "x.py").write_text(source)
    assert len(direct_imports(package)) == 1


def test_the_door_says_what_is_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        libraries.library("no_such_library")


def test_reports_are_off_for_libraries_loaded_before(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    class Telemetry:
        def send_event(self, what: str) -> None:
            sent.append(what)

    reporter, runtime = types.ModuleType("openvino_telemetry"), types.ModuleType("onnxruntime")
    reporter.Telemetry = Telemetry  # type: ignore[attr-defined]
    runtime.disable_telemetry_events = lambda: sent.append("off")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openvino_telemetry", reporter)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    Telemetry().send_event("before")
    libraries.silence_reports()
    Telemetry().send_event("after")
    assert sent == ["before", "off"]
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
