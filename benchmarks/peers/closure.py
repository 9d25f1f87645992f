"""Bytes of distributions and of all that they require, in the environment that runs this.

    PYTHON closure.py NAME[EXTRA]...

Prints a JSON object: for each distribution its bytes, and those of them that only a GPU has a use
for. Compiled caches are left out.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement  # in every virtual environment
from pip._vendor.packaging.utils import canonicalize_name

_CUDA_NAMES = ("nvidia-", "cuda-", "triton")
_CUDA_FILES = ("libtorch_cuda", "libc10_cuda", "libtorch_nvshmem")


def bytes_of(distribution: importlib.metadata.Distribution) -> tuple[int, int]:
    """Bytes in all, and of CUDA."""
    paths = (Path(distribution.locate_file(file)) for file in distribution.files or ())
    sizes = {p: p.stat().st_size for p in paths if p.suffix != ".pyc" and p.is_file()}
    total = sum(sizes.values())
    if canonicalize_name(distribution.name).startswith(_CUDA_NAMES):
        return total, total
    return total, sum(n for path, n in sizes.items() if path.name.startswith(_CUDA_FILES))


def closure(wanted: list[str]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    waiting = [Requirement(text) for text in wanted]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        distribution = importlib.metadata.distribution(name)
        found[name] = bytes_of(distribution)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in distribution.requires or ():
                inner = Requirement(line)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    waiting.append(inner)
    return found


if __name__ == "__main__":
    print(json.dumps(closure(sys.argv[1:])))
