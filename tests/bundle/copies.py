"""What the tests of bundles look for and do to a copy."""

from __future__ import annotations

from pathlib import Path


def leftovers(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir() if "samedge-tmp" in path.name]
