"""``models``, ``targets``, ``inspect``, ``doctor``: the tables and their documents."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from samedge import runtimes
from samedge.bundle.manifest import file_hash
from samedge.inspection import doctor
from samedge.models import zoo
from samedge.runtimes.base import Probe
from samedge.targets import TARGETS
from tests.cli.conftest import invoke
from tests.toys.bundle import write_bundle


def document(*arguments: object) -> Any:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_targets() -> None:
    rows = {row["name"]: row for row in document("targets")["targets"]}
    assert set(rows) == set(TARGETS)
    assert rows["cpu"]["backend"] == "onnxruntime"
    assert "fp32" in rows["cpu"]["precisions"]
    assert all(name in invoke("targets").stdout for name in TARGETS)


def test_models() -> None:
    rows = {row["name"]: row for row in document("models")["models"]}
    assert set(rows) == {entry.name for entry in zoo.models()}
    assert rows["sam-vit-b"]["licence"] == "Apache-2.0"
    assert rows["sam-vit-b"]["size_bytes"] == 375_042_383
    assert len(rows["sam-vit-b"]["sha256"]) == 64
    assert rows["samedge-nano"]["sha256"] == file_hash(zoo.MODELS["samedge-nano"].path)
    short, text = invoke("models").stdout, invoke("models", "-v").stdout
    assert max(map(len, short.splitlines())) <= 100
    assert all(name in short for name in rows)
    assert "https://" not in short
    for entry in (zoo.MODELS["sam-vit-b"], zoo.MODELS["mobile-sam"]):
        assert all(part in text for part in (entry.name, entry.address, entry.sha256) if part)


def test_parameters_of_the_embedded_model_are_those_that_torch_counts() -> None:
    (row,) = (r for r in document("models")["models"] if r["name"] == "samedge-nano")
    parameters = zoo.load_model("samedge-nano").parameters()
    assert row["parameters"] == sum(tensor.numel() for tensor in parameters)


def test_inspect(toy_bundle: Path) -> None:
    found = document("inspect", toy_bundle)
    manifest = json.loads((toy_bundle / "bundle.json").read_text())
    assert found["bundle"] == manifest
    text = invoke("inspect", toy_bundle).stdout
    for part in (manifest["id"], "toy", "Apache-2.0", "encoder.onnx", "not measured"):
        assert part in text


@pytest.mark.parametrize("name", ["samedge-nano", "samedge-pico"])
def test_inspect_takes_the_name_of_an_embedded_model(name: str) -> None:
    found = document("inspect", name)
    assert found["bundle"]["model"]["name"] == name
    assert Path(found["path"]).is_dir()


def test_inspect_tells_what_a_precision_lost_and_why_it_was_chosen(tmp_path: Path) -> None:
    row = {"prompt": "box", "n": 9, "miou_fp32": 0.71, "miou": 0.705, "drop": 0.005}
    accuracy = {
        "truth": "annotations",
        "images": 4,
        "rows": [row],
        "encode_ratio": 0.5,
        "decode_ratio": None,
        "size_ratio": 0.26,
        "choices": [
            {"precision": "int8", "verdict": "chosen"},
            {"precision": "fp32", "verdict": "slower than the chosen one"},
        ],
    }
    write_bundle(tmp_path / "b", accuracy=accuracy)
    text = invoke("inspect", tmp_path / "b").stdout
    assert "mIoU box 0.7050 (fp32 0.7100); against fp32: encode 0.50, size 0.26" in text
    assert "int8: chosen; fp32: slower than the chosen one" in text


@pytest.mark.parametrize(
    "accuracy", [{"rows": [{}]}, {"rows": 3}, {"choices": [{}]}, {"rows": [], "choices": [1]}]
)
def test_inspect_shows_the_rest_where_figures_are_of_another_form(
    accuracy: dict[str, object], tmp_path: Path
) -> None:
    """A manifest takes any; it ended in a traceback."""
    write_bundle(tmp_path / "b", accuracy=accuracy)
    result = invoke("inspect", tmp_path / "b")
    assert result.exit_code == 0
    assert "in a form that this samedge does not know" in result.stdout
    assert "Apache-2.0" in result.stdout


def test_inspect_of_nothing(tmp_path: Path) -> None:
    result = invoke("inspect", tmp_path / "absent")
    assert result.exit_code == 1
    assert "samedge export" in result.stderr


def check_backends(reports: list[dict[str, Any]]) -> None:
    assert [report["name"] for report in reports] == list(runtimes.names())
    fields = {"name", "available", "version", "devices", "detail", "fix", "selftest", "selftests"}
    for report in reports:
        assert set(report) == fields
        if not report["available"]:
            assert report["fix"], f"{report['name']} is missing and nothing says how to get it"
            assert report["selftest"] is None
        for test in report["selftests"]:
            assert test["ok"], test
            assert test["ms"] > 0


def test_doctor_runs_a_graph_on_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which has loaded the libraries anyway."""
    monkeypatch.setattr(doctor, "examine", functools.partial(doctor.examine, isolated=False))
    check_backends(document("doctor")["backends"])


@pytest.mark.slow
def test_doctor_runs_a_graph_in_a_process_for_each_backend() -> None:
    check_backends(document("doctor")["backends"])


def test_doctor_shows_what_users_need(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [doctor.examine_backend("null"), doctor.BackendReport(name="openvino", available=True)]
    monkeypatch.setattr(doctor, "examine", lambda names: found)
    assert "openvino" in invoke("doctor").stdout
    assert "null" not in invoke("doctor").stdout
    assert "null" in invoke("doctor", "-v").stdout
    assert "null" in invoke("doctor", "--backend", "null").stdout


def test_doctor_notices_a_backend_that_computes_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    backend = runtimes.get("onnxruntime")
    with backend.open(doctor.SELFTEST / "graph.onnx") as session:
        right = session.run

        def wrong(feeds: Any) -> Any:
            return {name: value[:, ::-1] for name, value in right(feeds).items()}

        monkeypatch.setattr(session, "run", wrong)
        monkeypatch.setattr(type(backend), "open", lambda self, path, device=None: session)
        test = doctor.run_selftest(backend, "cpu", graph=doctor.SELFTEST / "graph.onnx")
    assert not test.ok
    assert "off by" in test.error


def test_doctor_survives_a_backend_that_kills_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os\nos.kill(os.getpid(), 11)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (report,) = doctor.examine(["onnxruntime"])
    assert not report.available
    assert "signal SIGSEGV" in report.detail
    assert report.fix.startswith("pip install")


def test_doctor_shows_how_to_get_a_missing_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Probe(available=False, detail="not installed.", fix="pip install 'samedge[openvino]'")
    backend = runtimes.get("openvino")
    monkeypatch.setattr(type(backend), "probe", lambda self: missing)
    (report,) = doctor.examine(["openvino"], isolated=False)
    assert (report.available, report.fix, report.selftest) == (False, missing.fix, None)


def test_selftest_graphs_are_those_that_the_script_makes(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from tests.assets import make_selftest

    made = tmp_path / "graph.onnx"
    make_selftest.write_onnx(made)
    assert made.read_bytes() == (doctor.SELFTEST / "graph.onnx").read_bytes()
