"""What each contender takes on the disk: its runtime requirements, installed into an empty folder.

Without the model's files, which stand beside each contestant. ``pip install --target`` of what each
peer's own instructions ask for; CUDA libraries that torch brings to Linux are counted apart, since
a processor has no use for them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
REQUIREMENTS: dict[str, list[str]] = {
    "samedge[onnxruntime]": [f"{REPOSITORY}[onnxruntime]"],
    "samedge[openvino]": [f"{REPOSITORY}[openvino]"],
    "onnxruntime, numpy and pillow (by hand)": ["onnxruntime", "numpy", "pillow"],
    "segment-anything with torch": ["segment-anything==1.0", "torch<2.15", "torchvision"],
    "samexporter[runtime-cpu]": ["samexporter[runtime-cpu]==0.5.0"],
    "optimum-intel[openvino]": ["optimum-intel[openvino]==2.2.0"],
}
_CUDA = ("nvidia", "nvidia_*", "cuda", "cuda_*", "triton", "triton-*", "torch/lib/libtorch_cuda*")


def installed(name: str) -> dict[str, Any]:
    """Bytes of one set of requirements; what was installed is removed again."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-compile"]
        done = subprocess.run(
            [*command, "--target", scratch, *REQUIREMENTS[name]], capture_output=True, text=True
        )
        if done.returncode:
            return {"bytes": None, "reason": done.stderr.strip().splitlines()[-1][-300:]}
        folder = Path(scratch)
        cuda = sum(bytes_of(path) for pattern in _CUDA for path in folder.glob(pattern))
        total = bytes_of(folder)
        parts = sorted(((bytes_of(p), p.name) for p in folder.iterdir()), reverse=True)[:8]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    return {
        "requirements": [item.replace(str(REPOSITORY), "samedge") for item in REQUIREMENTS[name]],
        "bytes": total,
        "without_cuda_bytes": total - cuda,
        "largest": {part: size for size, part in parts},
    }


def bytes_of(path: Path) -> int:
    """Sum of the files, each counted once."""
    if path.is_symlink():
        return 0
    if path.is_file():
        return path.stat().st_size
    return sum(bytes_of(child) for child in path.iterdir())
