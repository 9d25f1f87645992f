"""The wheel: what is in it, what is not, and that it works where only it is installed."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

import samedge

REPOSITORY = Path(__file__).resolve().parents[1]
CORE = {"numpy", "pillow", "click", "rich", "msgspec", "platformdirs", "filelock"}
EXTRAS = {"onnxruntime", "openvino", "tensorrt", "coreml", "export", "report", "dev", "all"}
WHEEL_LIMIT_BYTES = 30e6  # the embedded model may have 25 MB of it


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    built = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel alone; its dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--disable-pip-version-check", "--target", str(folder), str(wheel)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return folder


def run_installed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )


def test_one_top_level_name(names: list[str]) -> None:
    top = {name.split("/")[0] for name in names}
    assert top == {"samedge", f"samedge-{samedge.__version__}.dist-info"}


def test_every_module_and_data_file_is_in_it(names: list[str]) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "samedge"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout, so nothing says which files belong to the package")
    present = [name for name in tracked.stdout.split("\n") if (REPOSITORY / name).is_file()]
    assert sorted(set(present) - set(names)) == []
    for name in ("py.typed", "data/selftest/graph.onnx", "data/photos/instances.json"):
        assert f"samedge/{name}" in names


def test_nothing_else_is_in_it(names: list[str]) -> None:
    strangers = ("tests/", "benchmarks/", "docs/", "__pycache__", ".pyc", ".ckpt", ".pth")
    assert [name for name in names if any(part in name for part in strangers)] == []
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_size(wheel: Path) -> None:
    print(f"wheel: {wheel.stat().st_size / 1e6:.1f} MB, limit {WHEEL_LIMIT_BYTES / 1e6:.0f} MB")
    assert wheel.stat().st_size < WHEEL_LIMIT_BYTES


def test_core_dependencies_are_few(metadata: Message) -> None:
    requirements = metadata.get_all("Requires-Dist") or []
    core = {line.split(">")[0].strip() for line in requirements if "extra ==" not in line}
    assert core == CORE
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra") or []) >= EXTRAS


def test_entry_point(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
        assert "samedge = samedge.__main__:main" in archive.read(name).decode()


def test_the_installed_wheel_works(installed: Path) -> None:
    code = "import samedge; print(samedge.__file__)"
    assert Path(run_installed(installed, "-c", code).stdout.strip()).is_relative_to(installed)
    document: Any = json.loads(
        run_installed(installed, "-m", "samedge", "targets", "--json").stdout
    )
    assert {"cpu", "intel"} <= {row["name"] for row in document["targets"]}


def test_the_installed_wheel_finds_its_data(installed: Path) -> None:
    command = ("-m", "samedge", "doctor", "--json", "--backend", "onnxruntime")
    (report,) = json.loads(run_installed(installed, *command).stdout)["backends"]
    if not report["available"]:
        pytest.skip(report["detail"])
    assert report["selftest"]["ok"]
