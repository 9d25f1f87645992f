"""What each contender takes on the disk: its runtime requirements, without the model's files.

Ours, and the leanest set by hand, are installed by pip into an empty folder and removed again. The
peers' sets are several gigabytes of torch; they are added up in the environments that this
comparison has made, from what pip recorded of each distribution that they require. Bytes that only
a GPU has a use for, which torch brings to Linux by default, are counted apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
HERE = Path(__file__).parent
INSTALLED: dict[str, list[str]] = {
    "samedge[onnxruntime]": [f"{REPOSITORY}[onnxruntime]"],
    "samedge[openvino]": [f"{REPOSITORY}[openvino]"],
    "onnxruntime, numpy and pillow (by hand)": ["onnxruntime", "numpy", "pillow"],
}
ADDED_UP: dict[str, tuple[str, list[str]]] = {
    "segment-anything with torch": ("env-peers", ["segment-anything", "torch", "torchvision"]),
    "samexporter[runtime-cpu]": ("env-peers", ["samexporter[runtime-cpu]"]),
    "optimum-intel[openvino]": ("env-optimum", ["optimum-intel[openvino]"]),
}


def measured(work: Path) -> dict[str, dict[str, Any]]:
    """Bytes of every set; ``None`` with the reason where it could not be told."""
    found = {name: installed(items) for name, items in INSTALLED.items()}
    for name, (environment, items) in ADDED_UP.items():
        found[name] = added_up(work / environment / "bin/python", items)
    return found


def installed(items: list[str]) -> dict[str, Any]:
    """Install into an empty folder and count."""
    with tempfile.TemporaryDirectory() as scratch:
        wheels, folder = Path(scratch, "wheels"), Path(scratch, "installed")
        reason = _pip("wheel", "-w", str(wheels), *items) or _pip(
            *("install", "--no-index", "--no-compile", "--find-links", str(wheels)),
            *("--target", str(folder), *(str(path) for path in wheels.iterdir())),
        )
        if reason:
            return {"bytes": None, "reason": reason}
        parts = {path.name: bytes_of(path) for path in folder.iterdir()}
        download = bytes_of(wheels)
    total = sum(parts.values())
    return {"bytes": total, "without_cuda_bytes": total, "download_bytes": download} | _top(parts)


def added_up(python: Path, items: list[str]) -> dict[str, Any]:
    """Add up the distributions that an environment has for these requirements."""
    command = [str(python), str(HERE / "closure.py"), *items]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"bytes": None, "reason": done.stderr.strip().splitlines()[-1][-300:]}
    parts = json.loads(done.stdout)
    total = sum(size for size, _ in parts.values())
    cuda = sum(size for _, size in parts.values())
    sizes = {name: size for name, (size, _) in parts.items()}
    return {"bytes": total, "without_cuda_bytes": total - cuda} | _top(sizes)


def _top(parts: dict[str, int]) -> dict[str, Any]:
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    return {"largest": dict(ordered[:8])}


def _pip(*arguments: str) -> str | None:
    """Run pip; the last line of what it says where it fails."""
    command = [sys.executable, "-m", "pip", arguments[0], "-q", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1][-300:] if done.returncode else None


def bytes_of(path: Path) -> int:
    """Sum of the files, each counted once."""
    if path.is_symlink():
        return 0
    if path.is_file():
        return path.stat().st_size
    return sum(bytes_of(child) for child in path.iterdir())
