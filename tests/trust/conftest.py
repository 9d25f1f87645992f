"""Commands as a user starts them, in environments that are not kind."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
CLICK = ("--point", "130,100")
BOX = ("--box", "55,45,205,155")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red rectangle on grey, in a folder that other users may read."""
    pixels = np.full((240, 320, 3), 90, np.uint8)
    pixels[50:150, 60:200] = (220, 60, 40)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def compiled(source: Path, folder: Path) -> Path:
    """A library to preload."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip(f"{source.name} needs Linux and a C compiler, cc")
    library = folder / f"{source.stem}.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


@contextlib.contextmanager
def small_disk(path: Path, *, size: str = "1m", options: str = "") -> Iterator[None]:
    """A disk of its own at a folder that is made."""
    path.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def samedge() -> Run:
    """Run a command in an environment of its own; whatever the test's process has is left out."""

    def run(
        *arguments: str,
        variables: dict[str, str] | None = None,
        code: str = "import samedge.cli; samedge.cli.main()",
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(REPOSITORY),
                "PYTHONDONTWRITEBYTECODE": "1",
                "OMP_NUM_THREADS": "1",
                **(variables or {}),
            },
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
