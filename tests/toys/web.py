"""A stand-in for ONNX Runtime Web's files, where nothing is to compute in a page."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from samedge.web import runtime


def small_runtime(patch: pytest.MonkeyPatch, parent: Path) -> Path:
    """A folder of files with the library's names, and their hashes taken for the right ones."""
    folder = parent / "runtime"
    folder.mkdir(exist_ok=True)
    hashes = {}
    for name in runtime.FILES:
        content = f"// {name}\n".encode()
        (folder / name).write_bytes(content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    patch.setattr(runtime, "FILES", hashes)
    return folder
