"""A bundle to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(toy_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the toy bundle, to be damaged."""
    return shutil.copytree(toy_bundle, tmp_path / "copy")
