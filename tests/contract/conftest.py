"""The tiny graph of :mod:`samedge.runtimes.example`, written by the backends themselves."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from samedge import runtimes
from samedge.runtimes.base import Backend

PAIRS = [(name, kind) for name in runtimes.names() for kind in runtimes.get(name).formats]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Folder with the tiny graph of a backend in one of its formats, written once a session."""

    @functools.cache
    def folder(name: str, kind: str) -> Path:
        path = tmp_path_factory.mktemp(f"{name}-{kind}")
        try:
            runtimes.get(name).write_example(path, kind)
        except ImportError as error:
            pytest.skip(f"what writes {kind} is not installed: {error}")
        return path

    return folder


@pytest.fixture(params=PAIRS, ids=lambda pair: "-".join(pair))
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, written: Callable[[str, str], Path]
) -> tuple[Backend, Path]:
    """Every backend that is here, with the tiny graph in each of its formats."""
    name, kind = request.param
    backend = runtimes.get(name)
    probe = backend.probe()
    if not probe.available:
        pytest.skip(probe.detail)
    copy = shutil.copytree(written(name, kind), tmp_path / "graph")
    return backend, next(path for path in copy.iterdir() if path.suffix != ".bin")
