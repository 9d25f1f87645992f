"""Frozen by PyInstaller from the wheel, and from inside of a zip."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("onnxruntime", "pyinstaller")

APP = """
import sys
import numpy as np
import samedge
from samedge.errors import InferenceError
from samedge.machine.child import start_python
image = np.zeros((96, 128, 3), np.uint8)
image[30:60, 40:90] = (220, 60, 40)
with samedge.load_default() as predictor:
    result = predictor.predict(image, samedge.Prompt(box=[40, 30, 90, 60]))
print("area", int(result.masks[0].sum()), "frozen", sys.frozen)
try:
    start_python("samedge.inspection.doctor")
except InferenceError as error:
    print(error)
"""


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=900
    )


@pytest.mark.slow
def test_a_frozen_program_finds_backend_and_model(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    built = run(sys.executable, "-m", "build", "-n", "-w", "-o", tmp_path, ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    scripts = tmp_path / "venv" / "bin"
    done = run(scripts / "python", "-m", "pip", "install", "-q", wheel, *PACKAGES)
    if done.returncode:
        pytest.skip(f"PyInstaller cannot be installed: {done.stderr.strip()[-200:]}")
    (tmp_path / "app.py").write_text(APP)
    done = run(scripts / "pyinstaller", "--noconfirm", "app.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(tmp_path / "dist" / "app" / "app", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    area = int(first.split()[1])
    assert 1200 < area < 1800, first  # the rectangle has 1,500
    assert "no Python to start" in second


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as content:
        for path in (ROOT / "samedge").rglob("*.py"):
            content.write(path, path.relative_to(ROOT))
    return archive


@pytest.mark.parametrize(
    "code",
    [
        "import samedge; samedge.load_default()",
        "from samedge import runtimes; runtimes.names()",
        "sys.argv = ['samedge', 'doctor']; from samedge.cli import main; main()",
    ],
)
def test_running_from_a_zip_says_what_to_do(zipped: Path, tmp_path: Path, code: str) -> None:
    start = f"import sys; sys.path.insert(0, {str(zipped)!r}); {code}"
    done = run(sys.executable, "-c", start, cwd=tmp_path)
    assert done.returncode != 0
    assert "cannot be read inside of a zip. Unpack it" in done.stderr, done.stderr
