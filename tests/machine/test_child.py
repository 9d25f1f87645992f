"""Children take no code from the folder that the user is in, whatever lies there."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from samedge.benchmark.process import ChosenSubject, WorkerProcess
from samedge.errors import InferenceError
from samedge.inspection import doctor
from samedge.machine.child import ending, start_python
from samedge.runtimes.tensorrt.build import run_job
from samedge.runtimes.tensorrt.builder import BuildJob
from tools import house

PLANTED = ("samedge", "numpy", "msgspec", "runpy", "json", "pkgutil", "platformdirs", "tensorrt")


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, full of modules that leave a file when they are run."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in PLANTED:
        mark = tmp_path / f"ran-{name}"
        text = f"open({str(mark)!r}, 'w').close()\nraise SystemExit('planted {name} ran')\n"
        (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as in `python -c` and an interactive shell
    return tmp_path


def ran(trap: Path) -> list[str]:
    return sorted(path.name for path in trap.glob("ran-*"))


def test_doctor_runs_nothing_from_the_current_folder(trap: Path) -> None:
    (report,) = doctor.examine(["null"])
    assert ran(trap) == []
    assert report.available


def test_bench_runs_nothing_from_the_current_folder(trap: Path) -> None:
    with WorkerProcess(ChosenSubject()) as worker:
        worker.close()
    assert ran(trap) == []


def test_the_engine_builder_runs_nothing_from_the_current_folder(trap: Path) -> None:
    with pytest.raises(InferenceError, match="builder ended with code 1"):
        run_job(BuildJob(flavour="no-such", onnx="absent.onnx"))
    assert ran(trap) == []


def test_a_plain_child_would_run_it(trap: Path) -> None:
    """Positive control: what the tests above would see."""
    command = [sys.executable, "-m", doctor.__name__, "null", "report.json"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert ran(trap)


def test_the_child_has_this_process_s_modules_and_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "import sys, os\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv[1:], os.environ['GIVEN'], '' in sys.path)\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    child = start_python(
        "mine", ["one", "two words"], variables={"GIVEN": "x"}, stdout=subprocess.PIPE
    )
    said, _ = child.communicate(timeout=600)
    assert (child.returncode, said.strip()) == (0, "['one', 'two words'] x False")


def own_starters(package: Path) -> list[str]:
    """Modules that name the interpreter, as one does to start a child."""
    return [
        module.name
        for module in house.modules(package)
        for node in house.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "executable"
        and ast.unparse(node) == "sys.executable"
    ]


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exit code 3"), (-signal.SIGKILL, "signal SIGKILL"), (-35, "signal 35")],
)
def test_every_ending_has_words(code: int, words: str) -> None:
    assert ending(code) == words


def test_only_one_function_starts_children() -> None:
    assert set(own_starters(house.PACKAGE)) == {start_python.__module__}


def test_another_starter_would_be_found(tmp_path: Path) -> None:
    """Positive control."""
    package = tmp_path / "samedge"
    package.mkdir()
    (package / "x.py").write_text("import sys, subprocess\nsubprocess.run([sys.executable, '-m'])")
    assert own_starters(package) == ["samedge.x"]
