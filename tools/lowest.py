"""Constraints that hold every dependency of a device at the oldest release pyproject.toml allows.

    python tools/lowest.py > constraints.txt
    pip install -e ".[dev]" -c constraints.txt

``make lowest`` does both and runs the tests of what a device needs, so that a bound is what was
tried and no guess. What only a workstation needs is left to the newest releases.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = (
    "onnxruntime",
    "openvino",
    "eval",
    "video",
    "heic",
    "tiles",
    "embeddings",
    "serve",
    "report",
)


def lowest(path: Path) -> Iterator[str]:
    """Constraints for the core and for ``EXTRAS``, a line each.

    Args:
        path: a pyproject.toml.

    Raises:
        KeyError: the project has no such extra.
        ValueError: a dependency without a lower bound.
    """
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = toml.loads(path.read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in EXTRAS for line in extras[name])]
    for requirement in map(Requirement, lines):
        if requirement.name == project["name"]:
            continue
        bounds = [each.version for each in requirement.specifier if each.operator == ">="]
        if not bounds:
            raise ValueError(f"{requirement} has no lower bound: give it one that was tried.")
        is_patch = bounds[0].count(".") > 1
        yield f"{requirement.name}=={bounds[0]}{'' if is_patch else '.*'}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest(Path(__file__).parent.parent / "pyproject.toml")) + "\n")
